"""A directory of shards, read in dataset order: its documents, block by block, checked against their records."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shard.errors import JobError, VerificationError
from shard.formats.frames import Codec
from shard.formats.megatron import read_index
from shard.formats.payload import DTYPES, Payload
from shard.records.shards import DIRECTORY_FILE, DirectoryRecord, ShardRecord, belongs, read_directory, read_shard
from shard.runs import runs_of
from shard.storage.framereader import FrameReader
from shard.storage.links import link_or_copy
from shard.storage.rankfile import read_codec
from shard.storage.rawreader import RawReader, TokenReader

BLOCK_BYTES = 8 << 20
"""Of payload, at about which a block ends; a longer document is a block by itself."""


@dataclass(frozen=True, slots=True)
class StoredShard:
    """One committed shard."""

    directory: Path
    stem: str
    record: ShardRecord
    dtype: str
    codec: Codec | None = None
    """Of a compressed payload."""

    @property
    def payload(self) -> Path:
        return self.directory / f"{self.stem}.{self.record.payload_suffix}"

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
        # [documents + 1] int64
        offsets = np.concatenate(([0], np.cumsum(self.lengths(), dtype=np.int64)))
        with self.reader() as reader:
            for start, end in runs_of(offsets, BLOCK_BYTES // DTYPES[self.dtype].itemsize):
                tokens = reader.read_tokens(int(offsets[start]), int(offsets[end]))
                digest.update(tokens.data)
                yield Payload(tokens, offsets[start : end + 1] - offsets[start])
        if digest.hexdigest() != self.record.payload_sha256:
            raise VerificationError(f"{self.payload}: these are not the bytes that its record describes")

    def reader(self) -> TokenReader:
        """Any range of its tokens, for one thread; a context manager. Raises VerificationError, naming the file."""
        if self.codec is None:
            return RawReader(self.payload, self.dtype, self.record.tokens)
        return FrameReader(self.payload, self.codec, self.record.tokens)

    def place_payload(self, target: Path) -> None:
        """Have the raw payload under another name: by link or copy where it lies raw, else written.

        Compared with the record on the way. Raises VerificationError.
        """
        if self.codec is None:
            self.check()
            link_or_copy(self.payload, target)
            return
        with target.open("wb") as file:
            for block in self.blocks():
                file.write(block.tokens.data)


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

    def disk_bytes(self) -> int:
        """What the shards take, records, indexes and sidecars included; a file with several names counts once."""
        stems = {shard.stem for shard in self.shards}
        with os.scandir(self.directory) as entries:
            stats = [entry.stat() for entry in entries if entry.name.partition(".")[0] in stems]
        return sum({stat.st_ino: stat.st_size for stat in stats}.values())

    def blocks(self) -> Iterator[Payload]:
        """All documents in dataset order. Raises VerificationError."""
        for shard in self.shards:
            yield from shard.blocks()


def open_stored(directory: Path) -> Stored:
    """Read the records of a directory. Raises JobError when it is none of ours, VerificationError when they differ."""
    record = read_directory(directory)
    codec = read_codec(directory, record.identity)
    stems = sorted((path.stem for path in directory.glob("[0-9]*.json") if path.stem.isdigit()), key=int)
    shards = []
    for stem in stems:
        found = read_shard(directory, stem)
        if (found.split, f"{found.unit:06d}") != (record.split, stem) or not belongs(found, record.chain):
            raise VerificationError(
                f"{directory / stem}.json: unit {found.unit}, {found.split}, fingerprint {found.fingerprint[:12]}: "
                f"it does not belong into this directory ({record.split}, {record.fingerprint[:12]})"
            )
        if (found.compressed is None) != (codec is None):
            raise VerificationError(f"{directory / stem}.json: {DIRECTORY_FILE} says otherwise of compression")
        shards.append(StoredShard(directory, stem, found, record.dtype, codec))
    if not shards:
        raise JobError(f"{directory}: no committed shard there")
    return Stored(directory, record, tuple(shards))
