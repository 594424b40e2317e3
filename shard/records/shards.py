"""The JSON beside the tokens: what a directory is, and what one shard of it holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from shard.records.frozen import Record, read_sealed, require
from shard.records.identity import Identity, identity_at
from shard.records.inputs import LineRange
from shard.records.job import FORMAT, FORMAT_VERSION, Job
from shard.records.trainers import SIDECARS
from shard.records.unit import Unit

Split = Literal["train", "holdout"]
SPLITS: tuple[Split, Split] = ("train", "holdout")
DIRECTORY_FILE = "dataset.json"


class TokenizerFacts(Record, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    kind: str
    vocab_size: int
    eod_id: int | None
    sha256: str
    bos_id: int | None = None

    @property
    def frame(self) -> tuple[int, int]:
        """Tokens that every document has before and after its text: 0 or 1 each."""
        return int(self.bos_id is not None), int(self.eod_id is not None)


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


class UnitSource(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The rows that a unit took: rows of Parquet and Arrow, lines, members of archives, files of a group."""

    path: str
    row_start: int
    """Inclusive. Rows of a part of a file that is cut by lines are counted from the part's first."""
    row_end: int
    """Exclusive."""
    content_id: str
    file_rows: int
    """Rows of the whole file: its last unit must end here."""
    lines: LineRange | None = None
    """Of a file that is cut by lines; nobody has counted the lines of its other parts."""


class Compressed(Record, frozen=True, kw_only=True):
    """The `.zst` file that stands for a payload."""

    bytes: int
    sha256: str


class ShardRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
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
    sidecars: Mapping[str, str] = msgspec.field(default_factory=dict)
    """What stands beside the payload for trainers: suffix → sha256. Not in the file where there is none."""
    compressed: Compressed | None = None
    """Where the payload is compressed; `payload_…` are of its tokens, raw. Not in the file where it is not."""

    def __post_init__(self) -> None:
        strange = self.sidecars.keys() - SIDECARS
        require(not strange, f"sidecars {sorted(strange)} are none of {sorted(SIDECARS)}")

    @property
    def payload_suffix(self) -> str:
        """Of the file that holds the tokens."""
        return "bin" if self.compressed is None else "zst"

    @property
    def stored_bytes(self) -> int:
        """Of that file."""
        return self.payload_bytes if self.compressed is None else self.compressed.bytes


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
            name=spec.name,
            kind=spec.kind,
            vocab_size=spec.vocab_size,
            eod_id=spec.eod_id,
            sha256=spec.sha256,
            bos_id=spec.bos_id,
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
