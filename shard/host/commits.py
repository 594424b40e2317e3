"""What a host has committed: told to the launcher, and removed where the launcher says that another host keeps it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from shard.errors import JobError
from shard.host.claim import unclaimed
from shard.records.frozen import read_record
from shard.records.identity import Identity
from shard.records.job import Job
from shard.records.progress import UnitCounts
from shard.records.shards import SPLITS, ShardRecord, Split, belongs, place_of, read_directory, read_shard
from shard.storage.disk import fsync_directory
from shard.storage.present import is_whole
from shard.storage.store import directories_of, discard, open_store

_SUFFIX = ".json"


class Commit(msgspec.Struct, frozen=True, array_like=True):
    """One committed unit; an array in JSON, because there are many."""

    counts: UnitCounts
    host: str
    """Who wrote it."""
    payload_sha256: str
    """Of train."""
    index_sha256: str
    holdout_payload_sha256: str
    holdout_index_sha256: str
    holdout_sidecars: Mapping[str, str] = msgspec.field(default_factory=dict)
    holdout_compressed_sha256: str = ""
    """Of the file in place of the payload; empty where the payload is raw."""
    path: str = ""
    """Source file, of a unit that is none of the job's own dataset: it was there before the job appended to it."""
    content_id: str = ""


class Commits(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of one host."""

    place: str
    """Equal where two hosts see one output directory, as on a shared file system; empty where there is none of this
    fingerprint."""
    holdout_place: str
    units: list[Commit]
    """Ascending."""


def require_planned(job: Job, output_dir: Path, holdout_dir: Path) -> None:
    """Raise JobError where the plan has other directories by now than this job, the latest that was started here.

    What is said of the ones would be taken for the others.
    """
    told = directories_of(job)
    planned = directories_of(msgspec.structs.replace(job, output_dir=str(output_dir), holdout_dir=str(holdout_dir)))
    if any(os.path.realpath(told[split]) != os.path.realpath(planned[split]) for split in SPLITS):
        raise JobError(
            f"run {job.run_id} has written to {told['train']} and {told['holdout']} here, and its plan, which was made "
            f"anew since, has {planned['train']} and {planned['holdout']}: give it the former ones again in hosts.txt, "
            "with 'shardfleet script' and the run's options, or launch it, which does all in the latter"
        )


def commits_of(job: Job) -> Commits:
    """Every committed unit of the job's fingerprint in its directories, whoever's share it was; no payload is read."""
    directories = directories_of(job)
    places = {split: place_of(directory) if _is_of(job, directory) else "" for split, directory in directories.items()}
    commits: list[Commit] = []
    if all(places.values()):
        stems = set.intersection(*(_stems(directory) for directory in directories.values()))
        chain = (*job.earlier, job.identity)
        for stem in sorted(stems, key=int):
            train, holdout = (_whole(directories[split], stem, split, chain) for split in SPLITS)
            if train is not None and holdout is not None:
                commits.append(_commit(train, holdout, named=train.unit < job.identity.first_unit))
    return Commits(place=places["train"], holdout_place=places["holdout"], units=commits)


def discard_units(job_directory: Path, request: bytes) -> list[int]:
    """Remove what is committed of the units in a JSON list, and return it.

    Raises DirectoryInUseError while a supervisor, or another run, is at work there, and JobError for another request.
    """
    try:
        ordinals = msgspec.json.decode(request, type=list[Annotated[int, msgspec.Meta(ge=0)]])
    except msgspec.DecodeError as error:
        raise JobError(f"not a list of units: {error}") from error
    job = read_record(job_directory / "job.json", Job)
    with unclaimed(job_directory, job), open_store(msgspec.structs.replace(job, overwrite=False)) as directories:
        discard(directories, ordinals)
        for directory in directories.values():
            fsync_directory(directory)
    return ordinals


def _is_of(job: Job, directory: Path) -> bool:
    try:
        return read_directory(directory).fingerprint == job.fingerprint
    except JobError:
        return False  # never made, or no directory of shards


def _stems(directory: Path) -> set[str]:
    names = (entry.removesuffix(_SUFFIX) for entry in os.listdir(directory) if entry.endswith(_SUFFIX))  # noqa: PTH208
    return {name for name in names if name.isascii() and name.isdigit()}


def _whole(directory: Path, stem: str, split: Split, chain: Sequence[Identity]) -> ShardRecord | None:
    """The record of a shard whose files have the recorded sizes; None for one that would be done again."""
    try:
        record = read_shard(directory, stem)
    except JobError:
        return None
    if record.split != split or f"{record.unit:06d}" != stem or not belongs(record, chain):
        return None
    return record if is_whole(directory, stem, record) else None


def _commit(train: ShardRecord, holdout: ShardRecord, *, named: bool) -> Commit:
    return Commit(
        counts=counts_of(train, holdout),
        host=train.host,
        payload_sha256=train.payload_sha256,
        index_sha256=train.index_sha256,
        holdout_payload_sha256=holdout.payload_sha256,
        holdout_index_sha256=holdout.index_sha256,
        holdout_sidecars=holdout.sidecars,
        holdout_compressed_sha256="" if holdout.compressed is None else holdout.compressed.sha256,
        path=train.source.path if named else "",
        content_id=train.source.content_id if named else "",
    )


def counts_of(train: ShardRecord, holdout: ShardRecord) -> UnitCounts:
    """The figures of a unit, by its two records."""
    return UnitCounts(
        unit=train.unit,
        row_start=train.source.row_start,
        row_end=train.source.row_end,
        file_rows=train.source.file_rows,
        documents=train.documents,
        holdout_documents=holdout.documents,
        tokens=train.tokens,
        holdout_tokens=holdout.tokens,
        dropped=sum(train.dropped.values()),
        lines=train.source.lines,
    )
