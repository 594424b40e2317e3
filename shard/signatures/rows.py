"""What stands for the documents of one shard in comparisons: rows of key and signature in a file.

After the header (header.py) a row for each document: 16 bytes, the xxh3-128 of its normal form, and for MinHash four
bytes for each value of its signature. Little-endian.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.batch import TextBatch
from shard.errors import VerificationError
from shard.formats.signatures import HEADER_BYTES, header_of, signatures_size
from shard.records.dedup import Scheme, Settings
from shard.runs import runs_of
from shard.signatures.hashes import exact_keys
from shard.signatures.minhash import band_keys, signatures_of
from shard.signatures.words import words_of
from shard.storage.payloadfile import RawFile

_BLOCK_BYTES = 1 << 18
"""Of text that is signed together, so that a core's caches hold what is made of it."""
_READ_ROWS = 1 << 15

Rows = NDArray[np.void]
"""[documents] of `row_type`."""


def row_type(scheme: Scheme) -> np.dtype[np.void]:
    """`key` [2] uint64, low half first, and for MinHash `values` [permutations] uint32."""
    fields: list[Any] = [("key", "<u8", (2,))]
    if scheme.kind == "minhash":
        fields.append(("values", "<u4", (scheme.num_perm,)))
    return np.dtype(fields)


def rows_of(batch: TextBatch, scheme: Scheme) -> Rows:
    """[documents] the rows of a batch."""
    rows = np.empty(batch.documents, dtype=row_type(scheme))
    for start, end in runs_of(batch.offsets, _BLOCK_BYTES):
        words = words_of(_part(batch, start, end))
        rows["key"][start:end] = exact_keys(words)
        if scheme.kind == "minhash":
            rows["values"][start:end] = signatures_of(words, scheme)
    return rows


class SignatureFile:
    """Such a file on its way to the disk, under a temporary name."""

    def __init__(self, temporary: Path, scheme: Scheme) -> None:
        header = header_of(scheme)
        self._file = RawFile(temporary)
        self._digest = hashlib.sha256(header)
        try:
            self._file.write(np.frombuffer(header, dtype=np.uint8))
        except BaseException:  # nobody has this object yet who could
            self._file.discard()
            raise

    @property
    def temporary(self) -> Path:
        return self._file.temporary

    def write(self, rows: Rows) -> None:
        """Append rows. Raises DiskFullError."""
        if len(rows):
            data = np.frombuffer(np.ascontiguousarray(rows), dtype=np.uint8)
            self._digest.update(data.data)
            self._file.write(data)

    def finish(self) -> str:
        """Sync and close. Returns the sha256."""
        self._file.finish()
        return str(self._digest.hexdigest())

    def discard(self) -> None:
        """Close and remove it, unless it has been renamed."""
        self._file.discard()


def mapped_rows(path: Path, scheme: Scheme, documents: int) -> Rows:
    """[documents] the rows of a file, unchecked."""
    if not documents:
        return np.empty(0, dtype=row_type(scheme))
    return np.memmap(path, dtype=row_type(scheme), mode="r", offset=HEADER_BYTES, shape=(documents,))


def checked_rows(path: Path, scheme: Scheme, documents: int, sha256: str) -> Rows:
    """The same; raises VerificationError when these are not the bytes that its record describes."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256 or path.stat().st_size != signatures_size(scheme, documents):
        raise VerificationError(
            f"{path}: these are not the bytes that its record describes; remove it: it is made again"
        )
    return mapped_rows(path, scheme, documents)


def exact_of(rows: Rows) -> NDArray[np.uint64]:
    """[documents, 2] uint64: the keys of normal forms, low half first."""
    return np.ascontiguousarray(rows["key"]).astype(np.uint64, copy=False)


def banded_of(rows: Rows, settings: Settings) -> NDArray[np.uint64]:
    """[documents, bands] uint64: the keys under which documents meet."""
    blocks = range(0, len(rows), _READ_ROWS)
    found = [band_keys(rows["values"][start : start + _READ_ROWS], settings) for start in blocks]
    return np.concatenate([np.empty((0, settings.bands), dtype=np.uint64), *found])


def _part(batch: TextBatch, start: int, end: int) -> TextBatch:
    first, last = int(batch.offsets[start]), int(batch.offsets[end])
    offsets = batch.offsets[start : end + 1] - first
    return TextBatch(data=batch.data[first:last], offsets=offsets, rows=end - start, dropped={})
