"""Keys and signatures of one shard, in a file that is committed as shards are: the record beside it comes last.

`000012.train.sig` has 16 bytes for each document, the key of its normal form, and, for MinHash, four bytes for each
permutation of each document behind them all. `000012.train.json` says what they are of.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shard.dedup.hashes import exact_keys
from shard.dedup.minhash import signatures_of_words
from shard.dedup.settings import Settings
from shard.dedup.text import TokenBytes
from shard.dedup.words import words_of
from shard.disk import fsync_directory, write_atomic
from shard.errors import JobError, VerificationError
from shard.frozen import Record, read_sealed, sealed_json
from shard.stored import StoredShard

KEY_BYTES = 16


class SignatureRecord(Record, frozen=True, kw_only=True):
    """What a file of keys and signatures is of."""

    scheme: str
    version: int
    kind: str
    ngram: int
    num_perm: int
    seed: int
    tokenizer_sha256: str
    payload_sha256: str
    documents: int
    sha256: str
    """Of the file."""


@dataclass(frozen=True, slots=True)
class UnitFile:
    """The file of one shard."""

    shard: StoredShard
    path: Path
    """Without suffix."""

    @property
    def documents(self) -> int:
        return self.shard.record.documents

    def is_there(self, settings: Settings, tokenizer_sha256: str) -> bool:
        """Whether it has been committed for these settings and this very payload, and is whole."""
        try:
            found = read_sealed(self._record_path, SignatureRecord)
            size = self._data_path.stat().st_size
        except (JobError, OSError):
            return False  # no commit, or half of one: it is made again
        return found == self._record(settings, tokenizer_sha256, found.sha256) and size == self._size(settings)

    def make(self, table: TokenBytes, settings: Settings, tokenizer_sha256: str) -> None:
        """Read the shard, and commit the file. Raises VerificationError for a damaged shard, DiskFullError."""
        keys = [np.empty((0, 2), dtype=np.uint64)]
        signatures = [np.empty((0, settings.num_perm), dtype=np.uint32)]
        for block in self.shard.blocks():
            for batch in table.texts(block):
                words = words_of(batch)
                keys.append(exact_keys(words))
                if settings.kind == "minhash":
                    signatures.append(signatures_of_words(words, settings))
        data = np.concatenate(keys).astype("<u8").tobytes() + np.concatenate(signatures).astype("<u4").tobytes()
        write_atomic(self._data_path, data)
        record = self._record(settings, tokenizer_sha256, hashlib.sha256(data).hexdigest())
        write_atomic(self._record_path, sealed_json(record))
        fsync_directory(self.path.parent)

    def read(self, settings: Settings) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
        """([documents, 2] keys, [documents, permutations] signatures, none of them for exact deduplication).

        Raises VerificationError when they are not the bytes that the record describes.
        """
        data = self._data_path.read_bytes()
        expected = read_sealed(self._record_path, SignatureRecord).sha256
        if hashlib.sha256(data).hexdigest() != expected or len(data) != self._size(settings):
            raise VerificationError(
                f"{self._data_path}: these are not the bytes that its record describes; remove {self._record_path.name}"
            )
        split = KEY_BYTES * self.documents
        keys = np.frombuffer(data[:split], dtype="<u8").reshape(-1, 2)
        return keys, np.frombuffer(data[split:], dtype="<u4").reshape(-1, settings.num_perm)

    def rows(self, settings: Settings, positions: NDArray[np.int64]) -> NDArray[np.uint32]:
        """[positions, permutations] uint32: signatures of some documents alone."""
        count = self.documents
        shape = (count, settings.num_perm)
        mapped = np.memmap(self._data_path, dtype="<u4", mode="r", offset=KEY_BYTES * count, shape=shape)
        return np.asarray(mapped[positions])

    @property
    def _data_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.sig")

    @property
    def _record_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def _size(self, settings: Settings) -> int:
        return self.documents * (KEY_BYTES + (4 * settings.num_perm if settings.kind == "minhash" else 0))

    def _record(self, settings: Settings, tokenizer_sha256: str, sha256: str) -> SignatureRecord:
        return SignatureRecord(
            scheme=settings.scheme,
            version=settings.version,
            kind=settings.kind,
            ngram=settings.ngram,
            num_perm=settings.num_perm,
            seed=settings.seed,
            tokenizer_sha256=tokenizer_sha256,
            payload_sha256=self.shard.record.payload_sha256,
            documents=self.documents,
            sha256=sha256,
        )


def numbered(files: Sequence[UnitFile]) -> Iterator[tuple[int, UnitFile]]:
    """(number of its first document, file): documents are numbered through all files, in their order."""
    first = 0
    for file in files:
        yield first, file
        first += file.documents
