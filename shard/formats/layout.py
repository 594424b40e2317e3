"""How large a Megatron index is: for those who look at files and never into them, and so need no numpy."""

import struct

HEADER = struct.Struct("<9sQBQQ")
"""Magic, version, dtype code, sequences, documents + 1."""


def index_size(documents: int) -> int:
    """Bytes of the index of so many documents."""
    return HEADER.size + 20 * documents + 8
