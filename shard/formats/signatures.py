"""The first 256 bytes of a file of signatures: the scheme, as JSON filled up with spaces and a line feed.

Apart from what reads the rest, which needs numpy: every start asks for it.
"""

from pathlib import Path

import msgspec

from shard.errors import JobError
from shard.records.dedup import Scheme
from shard.records.frozen import canonical_json

HEADER_BYTES = 256
KEY_BYTES = 16


def header_of(scheme: Scheme) -> bytes:
    """Those bytes."""
    return canonical_json(scheme).ljust(HEADER_BYTES - 1) + b"\n"


def scheme_at(path: Path) -> Scheme | None:
    """By which a file was made; None where there is none that can be read."""
    try:
        with path.open("rb", buffering=0) as file:
            return msgspec.json.decode(file.read(HEADER_BYTES), type=Scheme)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, JobError):
        return None


def signatures_size(scheme: Scheme, documents: int) -> int:
    """Bytes of a whole file."""
    row = KEY_BYTES + (4 * scheme.num_perm if scheme.kind == "minhash" else 0)
    return HEADER_BYTES + documents * row
