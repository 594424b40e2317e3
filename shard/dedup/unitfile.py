"""Keys and signatures of one shard on this machine: beside it, or in a file of their own with a record as its commit.

`000012.train.sig` is such a file, `000012.train.json` says what it is of; see signatures.py for what is in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shard.dedup.lists import shard_name
from shard.dedup.parts import Take
from shard.errors import JobError
from shard.formats.signatures import signatures_size
from shard.records.dedup import Scheme, Settings
from shard.records.frozen import Record, read_sealed, sealed_json
from shard.records.trainers import SIGNATURES
from shard.signatures.rows import Rows, banded_of, checked_rows, exact_of, mapped_rows
from shard.signatures.signing import sign_shard
from shard.signatures.text import TokenBytes
from shard.storage.disk import fsync_directory, write_atomic
from shard.storage.present import signed_by
from shard.storage.stored import StoredShard


class SignatureRecord(Record, frozen=True, kw_only=True):
    """What a file of keys and signatures is of."""

    scheme: Scheme
    tokenizer_sha256: str
    payload_sha256: str
    documents: int
    sha256: str
    """Of the file."""


@dataclass(frozen=True, slots=True)
class UnitFile:
    """See above; a Part."""

    shard: StoredShard
    directory: Path
    """Where the file is made, if none stands beside the shard."""
    settings: Settings
    source: str

    @property
    def name(self) -> str:
        return shard_name(self.shard.stem, self.shard.record.split)

    @property
    def documents(self) -> int:
        return self.shard.record.documents

    def is_there(self, tokenizer_sha256: str) -> bool:
        """Whether it has been committed for this scheme and this very payload, and is whole. Of no documents there is
        nothing to have."""
        if not self.documents or self._beside is not None:
            return True
        try:
            found = read_sealed(self._record_path, SignatureRecord)
            size = self._data_path.stat().st_size
        except (JobError, OSError):
            return False  # no commit, or half of one: it is made again
        scheme = self.settings.scheme
        return found == self._record(tokenizer_sha256, found.sha256) and size == signatures_size(scheme, self.documents)

    def make(self, table: TokenBytes, tokenizer_sha256: str) -> None:
        """Read the shard, and commit the file. Raises VerificationError for a damaged shard, DiskFullError."""
        digest = sign_shard(self.shard, table, self.settings.scheme, self._data_path)
        write_atomic(self._record_path, sealed_json(self._record(tokenizer_sha256, digest)))
        fsync_directory(self.directory)

    def exact(self) -> NDArray[np.uint64]:
        """See Part. Raises VerificationError."""
        return exact_of(self._checked())

    def banded(self) -> NDArray[np.uint64]:
        """See Part. Raises VerificationError."""
        return banded_of(self._checked(), self.settings)

    def signatures(self, positions: NDArray[np.int64]) -> bytes:
        """Signatures of some documents, back to back."""
        path = self._data_path if self._beside is None else self._sidecar
        return mapped_rows(path, self.settings.scheme, self.documents)["values"][positions].tobytes()

    def _checked(self) -> Rows:
        scheme, documents = self.settings.scheme, self.documents
        if not documents:
            return mapped_rows(self._data_path, scheme, 0)
        if (beside := self._beside) is not None:
            return checked_rows(self._sidecar, beside, documents, self.shard.record.sidecars[SIGNATURES])
        digest = read_sealed(self._record_path, SignatureRecord).sha256
        return checked_rows(self._data_path, scheme, documents, digest)

    @property
    def _beside(self) -> Scheme | None:
        """By which scheme the shard has them with it, where that serves."""
        return signed_by(self.shard.directory, self.shard.stem, self.shard.record, self.settings.scheme)

    @property
    def _sidecar(self) -> Path:
        return self.shard.directory / f"{self.shard.stem}.{SIGNATURES}"

    @property
    def _data_path(self) -> Path:
        return self.directory / f"{self.name}.sig"

    @property
    def _record_path(self) -> Path:
        return self.directory / f"{self.name}.json"

    def _record(self, tokenizer_sha256: str, sha256: str) -> SignatureRecord:
        return SignatureRecord(
            scheme=self.settings.scheme,
            tokenizer_sha256=tokenizer_sha256,
            payload_sha256=self.shard.record.payload_sha256,
            documents=self.documents,
            sha256=sha256,
        )


def fetch_from(files: Sequence[UnitFile], wanted: Mapping[int, NDArray[np.int64]], take: Take) -> None:
    """See Fetch: from files of this machine."""
    for number, positions in wanted.items():
        take(number, files[number].signatures(positions))
