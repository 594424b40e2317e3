"""The lock of an output directory: shared among hosts of one run (on a shared file system), closed to other runs."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from shard.errors import DirectoryInUseError

LOCK_FILE = ".shardfleet.lock"
_WAIT_SECONDS = 10.0


def lock_for_run(directory: Path, run_id: str, alone: Callable[[], None]) -> int:
    """Lock a directory, which must exist. Returns the descriptor that holds the lock.

    Whoever of a run is first calls `alone` while nobody else is there; then the run's name is written down. Raises
    DirectoryInUseError, naming the run that has it, what `alone` raises, OSError.
    """
    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _share(descriptor, directory, run_id, alone)
        _require_holder(descriptor, directory, run_id)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _share(descriptor: int, directory: Path, run_id: str, alone: Callable[[], None]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        if try_lock(descriptor, fcntl.LOCK_EX):
            alone()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, run_id.encode(), 0)
            # Lets go for a moment, in which another run may come in: its name is found then.
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            return
        if try_lock(descriptor, fcntl.LOCK_SH):
            return
        time.sleep(0.05)  # another host, or another run, holds it alone
    raise _in_use(descriptor, directory)


def try_lock(descriptor: int, kind: int) -> bool:
    """Whether the lock was free, of a kind of fcntl; then it is taken."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder_of(descriptor: int) -> str:
    """The run that was last alone with the directory; empty for none."""
    return os.pread(descriptor, 200, 0).decode(errors="replace")


def _require_holder(descriptor: int, directory: Path, run_id: str) -> None:
    if holder_of(descriptor) != run_id:
        raise _in_use(descriptor, directory)


def _in_use(descriptor: int, directory: Path) -> DirectoryInUseError:
    holder = holder_of(descriptor)
    return DirectoryInUseError(
        f"{directory}: run {holder} is writing there; wait for it, stop it with 'shardfleet abort {holder}', "
        "or choose another --output-dir"
    )
