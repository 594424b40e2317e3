"""What a verification finds, as records: made on one host or many, merged by the launcher."""

from typing import Literal

from shard.records.frozen import Record
from shard.records.inputs import LineRange
from shard.records.shards import DirectoryRecord


class Finding(Record, frozen=True, kw_only=True):
    """One thing that is not as it should be."""

    severity: Literal["error", "warning"]
    """A warning is what an interrupted run leaves behind: nothing that anybody reads."""
    file: str
    """Path, as `host:/path` when it lies on a host of a run."""
    problem: str
    """What was found, and what was expected."""

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


class UnitFacts(Record, frozen=True, kw_only=True, array_like=True):
    """What the record of one shard says; an array in JSON, because a cluster has tens of thousands."""

    unit: int
    path: str
    content_id: str
    row_start: int
    row_end: int
    file_rows: int
    documents: int
    tokens: int
    dropped: int
    shared: str
    """Digest of the fields that the records of both splits must share."""
    checked: bool
    """Whether the bytes were read, or left to the host whose job the unit is."""
    lines: LineRange | None = None
    """As in the record: of a file that is cut by lines."""


class DirectoryReport(Record, frozen=True, kw_only=True):
    """What was found in one directory."""

    directory: str
    """Path, as `host:/path` when it lies on a host of a run."""
    place: str
    """Equal for one directory seen from several hosts, as on a shared file system; never for two directories."""
    record: DirectoryRecord | None
    """None when dataset.json cannot be read."""
    units: tuple[UnitFacts, ...]
    unreadable: tuple[int, ...]
    """Units whose record cannot be read; each has a finding."""
    bytes_checked: int
    findings: tuple[Finding, ...]
    basis: Literal["bytes", "records", "ledger"] = "bytes"
    """What speaks for the units: their bytes, read again; their records alone; what the launcher once heard."""


class Coverage(Record, frozen=True, kw_only=True):
    """What the directories together hold of the dataset."""

    fingerprint: str
    """Empty when no directory could be read."""
    units: int
    """Of the whole dataset."""
    proven: int
    """Units every row of which is accounted for."""
    missing: tuple[tuple[int, int], ...]
    """Ordinals of units without any record, as [start, end) ranges."""
    complete: bool
    """Whether every row of the dataset was taken exactly once; on one host of several it never is."""
    rows: int
    documents: int
    """In train."""
    holdout_documents: int
    dropped: int
    tokens: int
    """In train, end-of-document tokens included."""
    holdout_tokens: int
    findings: tuple[Finding, ...]


class Report(Record, frozen=True, kw_only=True):
    """The outcome of a verification. Reports of several hosts are merged by proving over all their directories."""

    directories: tuple[DirectoryReport, ...]
    coverage: Coverage

    @property
    def findings(self) -> list[Finding]:
        """All findings, those of the directories first."""
        of_directories = [finding for directory in self.directories for finding in directory.findings]
        return [*of_directories, *self.coverage.findings]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with what is there; `coverage.complete` says whether all is there."""
        return all(finding.severity != "error" for finding in self.findings)
