"""Stopping a host's run from outside, and asking what is left of it."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from shard.errors import JobError
from shard.host.claim import PID_FILE, remove_secrets
from shard.host.stops import NOW_SIGNAL
from shard.processes import Process, cookie, end_all, is_alive, with_cookie
from shard.records.frozen import read_record
from shard.records.job import Job
from shard.records.options import Options
from shard.storage.store import remove_leftovers

_KILL_AFTER_GRACE_SECONDS = 10.0
_KILL_NOW_SECONDS = 3.0


def left_of(job_directory: Path) -> list[Process]:
    """Living processes of the run on this host."""
    found = with_cookie(_cookie(job_directory))
    supervisor = _supervisor(job_directory)
    if supervisor is not None and is_alive(supervisor) and all(p.pid != supervisor.pid for p in found):
        found.append(supervisor)
    return found


def stop(job_directory: Path, *, now: bool) -> list[Process]:
    """Have the supervisor stop its ranks; end whatever has no supervisor any more. Returns what is left.

    Works where the supervisor is alive, hangs, was killed, or was never started.
    """
    options = Options()
    try:
        job = read_record(job_directory / "job.json", Job)
        options = job.options
    except JobError:
        job = None  # never pushed, or half: there may be processes all the same, such as an export's
    grace = 0.0 if now else options.grace_seconds
    supervisor = _supervisor(job_directory)
    if supervisor is not None and is_alive(supervisor):
        _signal(supervisor, NOW_SIGNAL if now else signal.SIGTERM)
        _wait_for_end(supervisor, _KILL_NOW_SECONDS if now else grace + _KILL_AFTER_GRACE_SECONDS)
        if is_alive(supervisor):
            _signal(supervisor, signal.SIGKILL)
            _wait_for_end(supervisor, 1.0)
    left = end_all(_cookie(job_directory), grace_seconds=grace)
    if not left:
        if job is not None:
            remove_leftovers(job)
        remove_secrets(job_directory)
    return left


def _cookie(job_directory: Path) -> dict[str, str]:
    # <base>/runs/<run id>/<host>: known even where nothing was ever pushed
    return cookie(job_directory.parent.name, job_directory.name)


def _supervisor(job_directory: Path) -> Process | None:
    try:
        return read_record(job_directory / PID_FILE, Process)
    except JobError:
        return None


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # gone meanwhile
        os.kill(process.pid, number)


def _wait_for_end(process: Process, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
