"""A directory of shards, read in dataset order: its documents, block by block, checked against their records."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shard.errors import JobError, VerificationError
from shard.formats.megatron import read_index
from shard.formats.payload import DTYPES, Payload
from shard.records import DirectoryRecord, ShardRecord, belongs, read_directory, read_shard

BLOCK_BYTES = 8 << 20
"""Of payload, at about which a block ends; a longer document is a block by itself."""


@dataclass(frozen=True, slots=True)
class StoredShard:
    """One committed shard."""

    directory: Path
    stem: str
    record: ShardRecord
    dtype: str

    @property
    def payload(self) -> Path:
        return self.directory / f"{self.stem}.bin"

    def lengths(self) -> NDArray[np.int32]:
        """[documents] in tokens, end-of-document id included. Raises VerificationError."""
        path = self.directory / f"{self.stem}.idx"
        try:
            index = read_index(path)
        except OSError as error:
            raise VerificationError(f"{path}: {error.strerror}; its record says that it is there") from error
        lengths = index.lengths
        if index.dtype != self.dtype or len(lengths) != self.record.documents or lengths.sum() != self.record.tokens:
            raise VerificationError(
                f"{path}: {len(lengths)} documents, {lengths.sum()} tokens of {index.dtype}; "
                f"its record says {self.record.documents}, {self.record.tokens} of {self.dtype}"
            )
        return lengths

    def check(self) -> None:
        """Read the payload for its checks alone. Raises VerificationError."""
        for _ in self.blocks():
            pass

    def blocks(self) -> Iterator[Payload]:
        """All documents, a block of whole ones at a time.

        Raises VerificationError, naming the file, when the payload is not the recorded one; that is known for certain
        only after the last block.
        """
        digest = hashlib.sha256()
        dtype = DTYPES[self.dtype]
        # [documents + 1] int64
        offsets = np.concatenate(([0], np.cumsum(self.lengths(), dtype=np.int64)))
        try:
            with self.payload.open("rb") as file:
                for start, end in _runs(offsets, BLOCK_BYTES // dtype.itemsize):
                    tokens = np.fromfile(file, dtype=dtype, count=int(offsets[end] - offsets[start]))
                    digest.update(tokens.data)
                    if len(tokens) != offsets[end] - offsets[start]:
                        break  # cut short: the digest says so
                    yield Payload(tokens, offsets[start : end + 1] - offsets[start])
                digest.update(file.read(1))
        except OSError as error:
            raise VerificationError(f"{self.payload}: {error.strerror}; its record says that it is there") from error
        if digest.hexdigest() != self.record.payload_sha256:
            raise VerificationError(f"{self.payload}: these are not the bytes that its record describes")


@dataclass(frozen=True, slots=True)
class Stored:
    """All committed shards of one split on this machine."""

    directory: Path
    record: DirectoryRecord
    shards: tuple[StoredShard, ...]
    """In dataset order."""

    @property
    def documents(self) -> int:
        return sum(shard.record.documents for shard in self.shards)

    @property
    def tokens(self) -> int:
        return sum(shard.record.tokens for shard in self.shards)

    def blocks(self) -> Iterator[Payload]:
        """All documents in dataset order. Raises VerificationError."""
        for shard in self.shards:
            yield from shard.blocks()


def open_stored(directory: Path) -> Stored:
    """Read the records of a directory. Raises JobError when it is none of ours, VerificationError when they differ."""
    record = read_directory(directory)
    stems = sorted((path.stem for path in directory.glob("[0-9]*.json") if path.stem.isdigit()), key=int)
    shards = []
    for stem in stems:
        found = read_shard(directory, stem)
        if (found.split, f"{found.unit:06d}") != (record.split, stem) or not belongs(found, record.chain):
            raise VerificationError(
                f"{directory / stem}.json: unit {found.unit}, {found.split}, fingerprint {found.fingerprint[:12]}: "
                f"it does not belong into this directory ({record.split}, {record.fingerprint[:12]})"
            )
        shards.append(StoredShard(directory, stem, found, record.dtype))
    if not shards:
        raise JobError(f"{directory}: no committed shard there")
    return Stored(directory, record, tuple(shards))


def _runs(offsets: NDArray[np.int64], most_tokens: int) -> Iterator[tuple[int, int]]:
    """[start, end) ranges of documents with about so many tokens each, at least one document."""
    start, last = 0, len(offsets) - 1
    while start < last:
        end = int(np.searchsorted(offsets, offsets[start] + most_tokens, side="right")) - 1
        end = min(max(end, start + 1), last)
        yield start, end
        start = end
