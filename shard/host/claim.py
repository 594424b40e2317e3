"""One supervisor at a time for a job, found again by its process, and secrets that do not outlive it."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from shard.errors import DirectoryInUseError
from shard.processes import cookie, describe, end_all
from shard.records.job import Job
from shard.storage.disk import open_private, write_atomic

PID_FILE = "supervisor.json"
SECRET_FILES = ("token", "locations.json")
_LOCK_WAIT_SECONDS = 30.0


def remove_secrets(job_directory: Path) -> None:
    """Remove what was sent for the length of the run only."""
    for name in SECRET_FILES:
        (job_directory / name).unlink(missing_ok=True)
    for unfinished in job_directory.glob(".shardfleet-*"):  # files whose sending was cut short
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def claimed(job_directory: Path, job: Job) -> Iterator[None]:
    """Hold the job's lock, waiting a little for an earlier supervisor that is just stopping.

    Raises DirectoryInUseError when it does not stop.
    """
    with open_private(job_directory / "lock") as lock:
        deadline = time.monotonic() + _LOCK_WAIT_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DirectoryInUseError(
                        f"run {job.run_id} is already at work on {job.host}; "
                        f"stop it with 'shardfleet abort {job.run_id}'"
                    ) from None
                time.sleep(0.1)
        me = describe(os.getpid())
        write_atomic(job_directory / PID_FILE, msgspec.json.encode(me), mode=0o600)
        (job_directory / "stopped.json").unlink(missing_ok=True)
        # Ranks of a supervisor that was killed die with it, what they started may not have.
        end_all(cookie(job.run_id, job.host), grace_seconds=0)
        mine = {name: _inode(job_directory / name) for name in SECRET_FILES}
        try:
            yield
        finally:
            for name, inode in mine.items():
                # A file sent since then is of another start, which waits for this lock.
                if inode is not None and _inode(job_directory / name) == inode:
                    (job_directory / name).unlink(missing_ok=True)


@contextmanager
def unclaimed(job_directory: Path, job: Job) -> Iterator[None]:
    """Keep supervisors of the job from starting. Raises DirectoryInUseError at once when one is at work."""
    with open_private(job_directory / "lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DirectoryInUseError(
                f"run {job.run_id} is at work on {job.host}; try again when it has ended"
            ) from None
        yield


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None
