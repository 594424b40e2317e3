"""The JSON beside the tokens: what a directory is, and what one shard of it holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from shard.frozen import Record, read_sealed
from shard.identity import Identity, identity_at
from shard.job import FORMAT, FORMAT_VERSION, Job, Unit

Split = Literal["train", "holdout"]
SPLITS: tuple[Split, Split] = ("train", "holdout")
DIRECTORY_FILE = "dataset.json"


class TokenizerFacts(Record, frozen=True, kw_only=True):
    name: str
    kind: str
    vocab_size: int
    eod_id: int | None
    sha256: str


class SourceFacts(Record, frozen=True, kw_only=True):
    dataset: str
    revision: str
    text_column: str


class HoldoutFacts(Record, frozen=True, kw_only=True):
    rate: float
    seed: int


class DirectoryRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """`dataset.json`: what all shards of a directory have in common."""

    format: str
    version: int
    split: Split
    fingerprint: str
    dtype: str
    tokenizer: TokenizerFacts
    source: SourceFacts
    holdout: HoldoutFacts
    identity: Identity
    """What the fingerprint is the hash of, so that a difference can be named."""
    earlier: tuple[Identity, ...] = ()
    """Of what was there before the latest append, oldest first: a shard has the fingerprint of the one whose units it
    is among."""

    @property
    def chain(self) -> tuple[Identity, ...]:
        """All identities, oldest first."""
        return (*self.earlier, self.identity)


class UnitSource(Record, frozen=True, kw_only=True):
    """The rows that a unit took."""

    path: str
    row_start: int
    """Inclusive."""
    row_end: int
    """Exclusive."""
    content_id: str
    file_rows: int
    """Rows of the whole file: its last unit must end here."""


class ShardRecord(Record, frozen=True, kw_only=True):
    """`000012.json`: what one shard holds. Its appearance commits the shard."""

    version: int
    unit: int
    split: Split
    fingerprint: str
    source: UnitSource
    documents: int
    tokens: int
    payload_bytes: int
    payload_sha256: str
    index_sha256: str
    dropped: Mapping[str, int]
    """Rows that are no document, by reason; counted once, in the record of the train split."""
    host: str
    rank: int
    seconds: float


def directory_record(job: Job, split: Split) -> DirectoryRecord:
    """What `dataset.json` says for one split of a job."""
    spec = job.tokenizer
    return DirectoryRecord(
        format=FORMAT,
        version=FORMAT_VERSION,
        split=split,
        fingerprint=job.fingerprint,
        dtype=spec.dtype,
        tokenizer=TokenizerFacts(
            name=spec.name, kind=spec.kind, vocab_size=spec.vocab_size, eod_id=spec.eod_id, sha256=spec.sha256
        ),
        source=SourceFacts(
            dataset=job.dataset.name, revision=job.dataset.revision, text_column=job.dataset.text_column
        ),
        holdout=HoldoutFacts(rate=job.holdout.rate, seed=job.holdout.seed),
        identity=job.identity,
        earlier=job.earlier,
    )


def read_directory(directory: Path) -> DirectoryRecord:
    """The record of a directory. Raises JobError when there is none, or it is not ours."""
    return read_sealed(directory / DIRECTORY_FILE, DirectoryRecord)


def read_shard(directory: Path, stem: str) -> ShardRecord:
    """The record of a shard. Raises JobError."""
    return read_sealed(f"{directory}/{stem}.json", ShardRecord)


def belongs(record: ShardRecord, chain: Sequence[Identity]) -> bool:
    """Whether a shard is of the identity among whose units it is."""
    identity = identity_at(chain, record.unit)
    return identity is not None and record.fingerprint == identity.fingerprint


def matches(record: ShardRecord, unit: Unit, fingerprint: str) -> bool:
    """Whether a record commits this unit for this fingerprint."""
    return (
        record.unit == unit.ordinal
        and record.fingerprint == fingerprint
        and record.source.path == unit.path
        and record.source.content_id == unit.content_id
    )


def place_of(directory: Path) -> str:
    """Tells directories apart, and finds one directory again under another name or from another host.

    Inode and change time of dataset.json are the server's on a shared file system, and nobody can set the latter.
    """
    try:
        stat = (directory / DIRECTORY_FILE).stat()
    except OSError:
        return ""
    return f"{stat.st_ino}-{stat.st_ctime_ns}"
