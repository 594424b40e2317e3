"""catid's format, version 14, as far as writing and reading it have in common.

Spans, each a zstd frame of byte planes, are hashed one by one by CityHash64, as are the records of their index; the
hash in the footer of either file is the XOR of all, and of the hash of the footer's own head.
"""

import struct

from shard.errors import JobError

try:
    import cityhash
except ImportError as missing:
    _missing: str | None = missing.name
else:
    _missing = None

VERSION = 14
RECORD = struct.Struct("<II")
"""Of the index: where a span begins, its tokens."""
DATA_HEAD = struct.Struct("<BB")
"""Of a footer: version, bytes per token."""
INDEX_HEAD = struct.Struct("<IBB")
"""The same behind the end of the last span."""
HASH = struct.Struct("<Q")


def require_cityhash() -> None:
    """Raise JobError where the hash is not installed."""
    if _missing is not None:
        raise JobError(f"{_missing} is missing, which catid's format needs: pip install 'shardfleet[catid]'")


def hash_of(data: bytes) -> int:
    found: int = cityhash.CityHash64(data)
    return found


def footer(head: bytes, hashed: int) -> bytes:
    """The end of a file, before whose footer the spans or records have this XOR of hashes."""
    return head + HASH.pack(hashed ^ hash_of(head))
