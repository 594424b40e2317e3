"""Verification: records against bytes, and the proof that every source row was taken exactly once."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from shard.errors import JobError
from shard.records.job import Job
from shard.records.shards import DIRECTORY_FILE, DirectoryRecord, read_directory
from shard.storage.store import directories_of
from shard.verify.coverage import report_of
from shard.verify.directory import Progress, verify_directory
from shard.verify.report import Report


def verify(directories: Sequence[Path], *, progress: Progress | None = None) -> Report:
    """Verify directories of shards, train or holdout, of one dataset.

    Where only one of a pair is given, the other is looked for beside it: same parent, same fingerprint, units in
    common. Raises JobError for a directory without dataset.json: it is none of ours.
    """
    given = {_real(directory): directory for directory in directories}
    for directory in given.values():
        try:
            (directory / DIRECTORY_FILE).stat()
        except OSError as error:
            raise JobError(
                f"{directory}: no {DIRECTORY_FILE} there ({error.strerror}): no directory of shards"
            ) from error
    return report_of(verify_directory(directory, progress=progress) for directory in _with_siblings(given))


def verify_job(job: Job, *, progress: Progress | None = None) -> Report:
    """Verify both directories of a job on its host.

    The bytes of the job's own units are read, those of units that records name this host for, and those that were there
    before the job appended to them; on a shared file system the others are left to the hosts whose job they are.
    """
    mine = frozenset(unit.ordinal for unit in job.units).union(range(job.identity.first_unit))
    return report_of(
        verify_directory(directory, host=job.host, expected=(split, job.identity), mine=mine, progress=progress)
        for split, directory in directories_of(job).items()
    )


def _with_siblings(given: Mapping[str, Path]) -> list[Path]:
    """The directories given, and those beside them that hold the other split of units that lack it."""
    records = {real: _record_or_none(directory) for real, directory in given.items()}
    stems = {real: _stems(directory) for real, directory in given.items()}
    found = dict(given)
    for real, directory in given.items():
        record = records[real]
        if record is None:
            continue
        wanted = (record.fingerprint, "holdout" if record.split == "train" else "train")
        lacking = stems[real].difference(*(stems[other] for other in given if _kind(records[other]) == wanted))
        for beside in _beside(directory) if lacking else ():
            if _kind(_record_or_none(beside)) == wanted and lacking & _stems(beside):
                found.setdefault(_real(beside), beside)
    return list(found.values())


def _kind(record: DirectoryRecord | None) -> tuple[str, str] | None:
    return (record.fingerprint, record.split) if record is not None else None


def _beside(directory: Path) -> list[Path]:
    try:
        return sorted(directory.absolute().parent.iterdir())
    except OSError:
        return []


def _record_or_none(directory: Path) -> DirectoryRecord | None:
    try:
        return read_directory(directory)
    except (JobError, UnicodeDecodeError):
        return None


def _stems(directory: Path) -> set[str]:
    return {path.stem for path in directory.glob("[0-9]*.json")}


def _real(directory: Path) -> str:
    return os.path.realpath(directory)
