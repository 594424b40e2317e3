"""What is to be done, as frozen records: shared by the launcher that plans and the workers that do.

Everything here is JSON on disk (`plan.json` on the launcher, `job.json` on a host) and is validated when it
is read: types by msgspec, meaning by `__post_init__`.
"""

import hashlib
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from shard.errors import JobError

FORMAT = "shardfleet"
FORMAT_VERSION = 1

_RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,80}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all records: immutable, keyword-only, unknown fields refused."""


class Unit(Record, frozen=True, kw_only=True):
    """The atom of work: one source file, or one of `parts` equal byte ranges of it.

    A row group belongs to the part that holds its first byte, so the launcher splits files without reading a
    footer and the split depends on the dataset alone (the rule of Hadoop's input splits).
    """

    ordinal: int
    """Position in dataset order; names the shard."""
    path: str
    """Relative to the root of the dataset, as the Hub or the file system spells it."""
    size: int
    """Bytes of the whole source file."""
    content_id: str
    """`sha256:…` (LFS), `git:…` (blob), `etag:…` or `tail:…` (size and last 64 KiB)."""
    part: int = 0
    parts: int = 1

    def __post_init__(self) -> None:
        _require(self.ordinal >= 0, f"unit ordinal {self.ordinal} is negative")
        _require(bool(self.path), f"unit {self.ordinal} has no path")
        _require(self.size >= 0, f"unit {self.ordinal}: size {self.size} is negative")
        _require(0 <= self.part < self.parts, f"unit {self.ordinal}: part {self.part} of {self.parts}")

    @property
    def byte_start(self) -> int:
        """First byte of the part (inclusive)."""
        return self.size * self.part // self.parts

    @property
    def byte_end(self) -> int:
        """End of the part (exclusive)."""
        return self.size * (self.part + 1) // self.parts

    @property
    def bytes(self) -> int:
        """Bytes of source this unit stands for."""
        return self.byte_end - self.byte_start

    @property
    def stem(self) -> str:
        """File name of the unit's shards, without suffix."""
        return f"{self.ordinal:06d}"


class Dataset(Record, frozen=True, kw_only=True):
    """Where source files come from, pinned."""

    kind: Literal["hub", "files"]
    name: str
    """`owner/name` on the Hub, else the directory or URL as the user gave it."""
    root: str
    """What unit paths are relative to: the repository id, or a directory or fsspec URL."""
    revision: str
    """Commit sha on the Hub; for files, a digest of the listing."""
    text_column: str
    endpoint: str | None = None
    """Hub endpoint; None for files."""


class TokenizerSpec(Record, frozen=True, kw_only=True):
    """Which tokenizer. The file itself travels beside the job under the name `file`."""

    name: str
    kind: Literal["tiktoken", "hf", "bytes"]
    vocab_size: int
    """One more than the largest id, special tokens included."""
    eod_id: int | None
    """Written after every document; None for no end-of-document token."""
    sha256: str
    """Of the tokenizer file; of the empty string for `bytes`."""
    file: str | None = None
    """File name inside the job's tokenizer directory."""

    def __post_init__(self) -> None:
        _require(1 <= self.vocab_size <= 2**31, f"tokenizer {self.name!r}: vocabulary of {self.vocab_size}")
        _require(bool(_SHA256.fullmatch(self.sha256)), f"tokenizer {self.name!r}: sha256 {self.sha256!r}")
        if self.eod_id is not None:
            _require(
                0 <= self.eod_id < self.vocab_size,
                f"end-of-document id {self.eod_id} is outside the vocabulary of {self.name!r} "
                f"(0 to {self.vocab_size - 1})",
            )

    @property
    def dtype(self) -> Literal["uint16", "uint32"]:
        """Token type on disk: two bytes wherever every id fits."""
        return "uint16" if self.vocab_size <= 1 << 16 else "uint32"


class Holdout(Record, frozen=True, kw_only=True):
    """Which documents are held out: those whose xxh3_64(utf8, seed) lies below `threshold`."""

    rate: float = 0.001
    seed: int = 0

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "rate", float(self.rate))  # 0 and 0.0 have one fingerprint
        _require(0.0 <= self.rate < 1.0, f"holdout rate {self.rate} is not in [0, 1)")
        _require(0 <= self.seed < 1 << 64, f"holdout seed {self.seed} is not an unsigned 64-bit number")

    @property
    def threshold(self) -> int:
        """rate · 2^64, exactly (no float rounding)."""
        return int(Fraction(repr(self.rate)) * (1 << 64))


class Identity(Record, frozen=True, kw_only=True):
    """Everything that decides output bytes, and nothing else. Its hash is the fingerprint."""

    format: str
    version: int
    tokenizer_kind: str
    tokenizer_sha256: str
    vocab_size: int
    eod_id: int | None
    dtype: str
    text_column: str
    holdout_rate: float
    holdout_seed: int
    units: int
    units_sha256: str

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) over the canonical JSON of this record."""
        return hashlib.sha256(canonical_json(self)).hexdigest()

    def differing(self, other: "Identity") -> list[str]:
        """One line per field that differs, as `name: ours, not theirs`."""
        return [
            f"{field}: {getattr(self, field)!r}, not {getattr(other, field)!r}"
            for field in self.__struct_fields__
            if getattr(self, field) != getattr(other, field)
        ]


class Options(Record, frozen=True, kw_only=True):
    """How to work. Nothing here may change an output byte."""

    fetch: Literal["stream", "download"] = "stream"
    attempts: int = 3
    """Tries of one unit before it is quarantined."""
    retry_seconds: float = 900.0
    """How long one request to the Hub is retried before the attempt counts as failed."""
    stall_seconds: float = 30.0
    """A connection that brings no byte for so long is given up and tried again."""
    spans_in_flight: int = 4
    """Range requests under way at once, per rank."""
    grace_seconds: float = 5.0
    """Between SIGTERM and SIGKILL when stopping."""
    on_disconnect: Literal["stop", "continue"] = "stop"
    """What a host does when the launcher or the way to it is gone."""
    lease_seconds: float | None = None
    """A host that has not heard from the launcher for so long takes it for gone; None never."""
    progress_seconds: float = 2.0
    rank_restarts: int = 5
    """How often in a row a rank process that crashes is started again."""

    def __post_init__(self) -> None:
        _require(self.attempts >= 1, f"attempts {self.attempts} is less than 1")
        _require(self.spans_in_flight >= 1, f"spans_in_flight {self.spans_in_flight} is less than 1")
        for field in ("retry_seconds", "stall_seconds", "progress_seconds"):
            _require(getattr(self, field) > 0, f"{field} {getattr(self, field)} is not positive")
        _require(self.grace_seconds >= 0, f"grace_seconds {self.grace_seconds} is negative")


class Job(Record, frozen=True, kw_only=True):
    """One host's share of a run: what its supervisor reads."""

    version: int
    run_id: str
    host: str
    """As hosts.txt names it."""
    first_rank: int
    ranks: int
    world_size: int
    output_dir: str
    """On the host; `~` is its home."""
    holdout_dir: str
    dataset: Dataset
    tokenizer: TokenizerSpec
    holdout: Holdout
    identity: Identity
    options: Options
    units: tuple[Unit, ...]
    overwrite: bool = False

    def __post_init__(self) -> None:
        _require(self.version == FORMAT_VERSION, f"job version {self.version}; this is version {FORMAT_VERSION}")
        _require(bool(_RUN_ID.fullmatch(self.run_id)), f"run id {self.run_id!r}")
        _require(self.ranks >= 1, f"host {self.host}: {self.ranks} ranks")
        ordinals = {unit.ordinal for unit in self.units}
        _require(len(ordinals) == len(self.units), f"host {self.host}: a unit stands twice")

    @property
    def fingerprint(self) -> str:
        return self.identity.fingerprint


def identity_of(dataset: Dataset, tokenizer: TokenizerSpec, holdout: Holdout, units: Sequence[Unit]) -> Identity:
    """What decides the output bytes of these options over these units.

    Names are left out on purpose: a mirror, a local copy or another commit with the same files gives the same bytes.
    """
    return Identity(
        format=FORMAT,
        version=FORMAT_VERSION,
        tokenizer_kind=tokenizer.kind,
        tokenizer_sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        eod_id=tokenizer.eod_id,
        dtype=tokenizer.dtype,
        text_column=dataset.text_column,
        holdout_rate=holdout.rate,
        holdout_seed=holdout.seed,
        units=len(units),
        units_sha256=hashlib.sha256(canonical_json(list(units))).hexdigest(),
    )


def canonical_json(value: object) -> bytes:
    """One spelling for equal values: sorted keys, no spaces, UTF-8."""
    return msgspec.json.encode(value, order="sorted")


R = TypeVar("R")


def read_record(path: Path, kind: type[R]) -> R:
    """The record in a JSON file.

    Raises JobError, naming file and field, when the file is missing, unreadable, or not such a record.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise JobError(f"{path}: {error.strerror or error}; is it the right directory?") from error
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, JobError) as error:
        raise JobError(f"{path}: not a {kind.__name__} record: {error}") from error


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise JobError(message)
