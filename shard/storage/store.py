"""Output directories: opened for one run at a time, never mixed, never wiped unasked."""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from shard.errors import FingerprintError, JobError, StoreError
from shard.records.compression import RANKS_FILE
from shard.records.frozen import sealed_json
from shard.records.identity import identity_at
from shard.records.job import Job
from shard.records.shards import (
    DIRECTORY_FILE,
    ShardRecord,
    Split,
    directory_record,
    matches,
    read_directory,
    read_shard,
)
from shard.records.trainers import SIDECARS
from shard.records.unit import Unit
from shard.storage.disk import disk_full_named, fsync_directory, write_atomic
from shard.storage.lock import LOCK_FILE, holder_of, lock_for_run, try_lock
from shard.storage.present import is_whole, listed_sidecars

SHARD_FILE = re.compile(rf"(\d{{6,}})\.(bin|zst|idx|json|{'|'.join(map(re.escape, sorted(SIDECARS)))})")
_OURS = re.compile(rf"{SHARD_FILE.pattern}|\.\d{{6,}}\..*\.tmp|cluster\.json|{re.escape(RANKS_FILE)}")
_UNFINISHED = re.compile(r"\.(\d{6,}|dataset)\..*\.tmp")

Directories = dict[Split, Path]


def directories_of(job: Job) -> Directories:
    """Where the splits go on this host, absolute."""
    return {
        "train": Path(os.path.abspath(Path(job.output_dir).expanduser())),  # noqa: PTH100  resolve() would follow links
        "holdout": Path(os.path.abspath(Path(job.holdout_dir).expanduser())),  # noqa: PTH100
    }


def scratch_of(job: Job, directories: Directories) -> Path:
    """Where this host's ranks put downloaded files: on the disk that the shards go to."""
    return directories["train"] / f".scratch-{job.run_id}-{job.first_rank}"


@contextmanager
def open_store(job: Job) -> Iterator[Directories]:
    """Make, lock and check both directories; hold the locks until the end.

    Raises DirectoryInUseError, FingerprintError (naming the fields that differ), StoreError, DiskFullError.
    """
    directories = directories_of(job)
    if directories["train"] == directories["holdout"]:
        raise StoreError(f"{directories['train']}: --output-dir and --holdout-dir are the same directory")
    locks: list[int] = []
    try:
        for split, directory in directories.items():
            try:
                with disk_full_named(directory / DIRECTORY_FILE):
                    directory.mkdir(parents=True, exist_ok=True)
                    locks.append(_take(directory, split, job))
            except OSError as error:
                raise StoreError(
                    f"{directory}: cannot write there: {error.strerror}; choose another directory"
                ) from error
        yield directories
    finally:
        for descriptor in locks:
            os.close(descriptor)


def committed(job: Job, directories: Directories, unit: Unit) -> dict[Split, ShardRecord] | None:
    """The records of a unit whose shards are whole: they match, and the files have the recorded sizes."""
    found: dict[Split, ShardRecord] = {}
    identity = identity_at((*job.earlier, job.identity), unit.ordinal)
    fingerprint = "" if identity is None else identity.fingerprint
    for split, directory in directories.items():
        try:
            record = read_shard(directory, unit.stem)
        except JobError:
            return None  # no commit, or half of one: the unit is done again
        if not matches(record, unit, fingerprint) or not is_whole(directory, unit.stem, record):
            return None
        found[split] = record
    return found


def put_ranks(job: Job, directories: Directories, job_directory: Path) -> None:
    """Put the rank table that came with the job beside the shards it is for. Raises StoreError, DiskFullError."""
    compression = job.identity.compression
    if compression is None:
        return
    path = job_directory / RANKS_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; launch again to send it anew") from error
    if (digest := hashlib.sha256(data).hexdigest()) != compression.ranks_sha256:
        raise StoreError(
            f"{path}: sha256 {digest}, planned is {compression.ranks_sha256}; launch again to send it anew"
        )
    for directory in directories.values():
        target = directory / RANKS_FILE
        if not target.exists() or target.read_bytes() != data:
            write_atomic(target, data)
            fsync_directory(directory)


def remove_unfinished(directories: Directories, units: Iterable[Unit]) -> None:
    """Remove what these units left without a commit; call it when nobody works on them.

    That is temporary files, sidecars that no record lists, and holdout records whose train record, the commit, was
    never written.
    """
    stems = {unit.stem for unit in units}
    for directory in directories.values():
        listed: dict[str, frozenset[str]] = {}
        for name in _names(directory):
            stem, _, suffix = name.partition(".")
            if name.endswith(".tmp") and not stem and suffix.split(".")[0] in stems:
                (directory / name).unlink(missing_ok=True)
            elif suffix in SIDECARS and stem in stems:
                if stem not in listed:
                    listed[stem] = listed_sidecars(directory, stem)
                if suffix not in listed[stem]:
                    (directory / name).unlink(missing_ok=True)
    train, holdout = directories["train"], directories["holdout"]
    if not (train / DIRECTORY_FILE).exists():
        return  # out of reach or another's by now: it says nothing of what is committed
    records = {name for name in _names(holdout) if name.endswith(".json") and name.removesuffix(".json") in stems}
    for name in records - _names(train):
        # A listing may be older than a commit of another host on a shared file system: look again.
        if not (train / name).exists():
            (holdout / name).unlink(missing_ok=True)


def _names(directory: Path) -> set[str]:
    """What lies in a directory; nothing where there is none."""
    try:
        return set(os.listdir(directory))  # noqa: PTH208  a Path for each of 30,000 names takes longer than the listing
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return set()


def discard(directories: Directories, ordinals: Iterable[int]) -> None:
    """Remove what is committed of these units, the commit first."""
    for ordinal in ordinals:
        stem = f"{ordinal:06d}"
        for directory in (directories["train"], directories["holdout"]):
            for suffix in ("json", "bin", "zst", "idx", *SIDECARS):
                (directory / f"{stem}.{suffix}").unlink(missing_ok=True)


def remove_leftovers(job: Job) -> None:
    """Remove temporary files and scratch of a job at which nobody works, unless another run is at work in its place."""
    directories = directories_of(job)
    with suppress(FileNotFoundError), ExitStack() as stack:
        for directory in directories.values():
            lock = stack.enter_context((directory / LOCK_FILE).open("rb"))
            if try_lock(lock.fileno(), fcntl.LOCK_EX):
                _clear(directory, job)
            elif holder_of(lock.fileno()) != job.run_id:
                return
        # Other hosts of the run may share the directories; their units are others.
        remove_unfinished(directories, job.units)
        shutil.rmtree(scratch_of(job, directories), ignore_errors=True)


def _clear(directory: Path, job: Job) -> None:
    """Remove temporary files of any unit (it may be another host's by now) and scratch of any host of the run; the
    caller holds the directory's lock alone."""
    for path in directory.iterdir():
        if _UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)
        elif path.name.startswith(f".scratch-{job.run_id}-"):
            shutil.rmtree(path, ignore_errors=True)


def _take(directory: Path, split: Split, job: Job) -> int:
    """Make the directory this job's and lock it. Returns the descriptor that holds the lock."""

    def alone() -> None:
        _adopt(directory, split, job)
        _clear(directory, job)

    descriptor = lock_for_run(directory, job.run_id, alone)
    try:
        _adopt(directory, split, msgspec.structs.replace(job, overwrite=False))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _adopt(directory: Path, split: Split, job: Job) -> None:
    """Make the directory this job's, or find that it is already."""
    wanted = directory_record(job, split)
    path = directory / DIRECTORY_FILE
    if path.exists():
        found = read_directory(directory)
        if found.fingerprint == wanted.fingerprint and found.split == split:
            return
        if found.split == split and found.chain == wanted.chain[: len(found.chain)]:
            # What is there stays; from now on it is of an earlier identity.
            write_atomic(path, sealed_json(wanted))
            fsync_directory(directory)
            return
        if found.split == split and wanted.chain == found.chain[: len(wanted.chain)]:
            raise FingerprintError(
                f"{directory}: holds this run's shards, and what has been appended to them since: the last "
                "append again completes it, 'shardfleet append' adds more, or choose another directory"
            )
        if not job.overwrite:
            differing = wanted.identity.differing(found.identity)
            if found.split != split:
                differing.append(f"split: {split!r}, not {found.split!r}")
            raise FingerprintError(
                f"{directory}: holds shards of fingerprint {found.fingerprint[:12]}; this run is "
                f"{wanted.fingerprint[:12]}. Differing: {'; '.join(differing)}. "
                "Choose another directory, or replace those shards with --overwrite"
            )
        path.unlink()  # first: shards without it belong to nothing
    elif not job.overwrite and (stray := next(_our_files(directory), None)) is not None:
        raise StoreError(
            f"{directory}: holds {stray.name} but no {DIRECTORY_FILE}; choose another directory, or use --overwrite"
        )
    for stray in _our_files(directory):
        stray.unlink()
    write_atomic(path, sealed_json(wanted))
    fsync_directory(directory)


def _our_files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.iterdir() if _OURS.fullmatch(path.name))
