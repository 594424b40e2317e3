"""The `.idx` file of Megatron-LM's IndexedDataset: one sequence, and one document, per document.

Layout, little-endian: `MMIDIDX\\0\\0`, uint64 version 1, uint8 dtype code, uint64 sequences, uint64 documents + 1,
int32 lengths in tokens, int64 byte offsets, int64 document index. Arrays begin at byte 34, unaligned.
Source: megatron.core.datasets.indexed_dataset.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from shard.errors import VerificationError
from shard.formats.layout import HEADER, index_size

_MAGIC = b"MMIDIDX\x00\x00"
_CODES = {"uint16": 8, "uint32": 4}  # the format has no uint32; int32 has the same bytes below 2^31
_NAMES = {code: name for name, code in _CODES.items()}


@dataclass(frozen=True, slots=True)
class Index:
    """Boundaries of the documents of one payload."""

    dtype: str
    lengths: NDArray[np.int32]
    """[documents] in tokens."""
    byte_offsets: NDArray[np.int64]
    """[documents] where each begins in the payload."""


def index_bytes(lengths: Sequence[NDArray[np.int32]], dtype: str) -> bytes:
    """The whole file for documents of these lengths (tokens, end-of-document id included)."""
    joined = np.concatenate([np.empty(0, dtype=np.int32), *lengths]).astype("<i4")
    documents = len(joined)
    itemsize = np.dtype(dtype).itemsize
    # [documents] exclusive running sum, in bytes
    offsets = np.zeros(documents, dtype="<i8")
    np.cumsum(joined[:-1].astype(np.int64) * itemsize, out=offsets[1:])
    header = index_header(documents, dtype)
    return b"".join((header, joined.tobytes(), offsets.tobytes(), np.arange(documents + 1, dtype="<i8").tobytes()))


def index_header(documents: int, dtype: str) -> bytes:
    """What stands before the three arrays."""
    return HEADER.pack(_MAGIC, 1, _CODES[dtype], documents, documents + 1)


def read_index(path: Path) -> Index:
    """Read and check a `.idx` file. Raises VerificationError, naming the file, when it is not as described above."""
    with path.open("rb") as file:
        return _parse(file, path, path.stat().st_size)


def _parse(file: BinaryIO, path: Path, size: int) -> Index:
    header = file.read(HEADER.size)
    if len(header) != HEADER.size:
        raise VerificationError(f"{path}: {size} bytes are too few for an index")
    magic, version, code, sequences, boundaries = HEADER.unpack(header)
    if magic != _MAGIC or version != 1 or code not in _NAMES:
        raise VerificationError(f"{path}: not a Megatron index of version 1 with 2- or 4-byte tokens")
    if boundaries != sequences + 1 or size != index_size(sequences):
        raise VerificationError(f"{path}: {size} bytes do not fit {sequences} sequences and {boundaries} boundaries")
    lengths = np.frombuffer(file.read(4 * sequences), dtype="<i4")
    offsets = np.frombuffer(file.read(8 * sequences), dtype="<i8")
    documents = np.frombuffer(file.read(8 * boundaries), dtype="<i8")
    if not np.array_equal(documents, np.arange(boundaries)):
        raise VerificationError(f"{path}: its document index is not one sequence per document")
    return Index(_NAMES[code], lengths, offsets)
