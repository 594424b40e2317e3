"""Finding and ending the processes of a run on this host (Linux).

Every process of a run carries two environment variables, its cookie: they survive forks, sessions and re-parenting, so
a walk over /proc finds what a process group cannot.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

JOB_VARIABLE = "SHARDFLEET_JOB"
HOST_VARIABLE = "SHARDFLEET_HOST"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Process:
    """A process that is not mistaken for a later one with the same number."""

    pid: int
    started: int
    """Clock ticks after boot."""
    command: str


def cookie(run_id: str, host: str) -> dict[str, str]:
    """The environment variables that mark a run's processes on one host."""
    return {JOB_VARIABLE: run_id, HOST_VARIABLE: host}


def with_cookie(wanted: Mapping[str, str]) -> list[Process]:
    """Living processes that carry the cookie, this one and its ancestors left out."""
    needles = [f"{name}={value}".encode() for name, value in wanted.items()]
    own = _ancestry()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in own:
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # gone meanwhile, or another user's
        if all(needle in variables for needle in needles) and (process := describe(int(entry.name))) is not None:
            found.append(process)
    return found


def describe(pid: int) -> Process | None:
    """The living process with this number; None when there is none, or only its corpse."""
    directory = Path("/proc") / str(pid)
    try:
        # The command's name may hold spaces and brackets; the fields after its last bracket do not.
        state, *fields = (directory / "stat").read_text().rpartition(")")[2].split()
        command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else Process(pid, int(fields[18]), command)


def is_alive(process: Process) -> bool:
    """Whether this very process still lives."""
    now = describe(process.pid)
    return now is not None and now.started == process.started


def end_all(wanted: Mapping[str, str], *, grace_seconds: float, give_up_seconds: float = 10.0) -> list[Process]:
    """Terminate every process with the cookie: SIGTERM, a grace, then SIGKILL until none is left.

    Returns what is left after `give_up_seconds` of killing: empty, unless a process cannot be killed.
    """
    if grace_seconds > 0:
        _signal(with_cookie(wanted), signal.SIGTERM)
        _wait_until_gone(wanted, grace_seconds)
    deadline = time.monotonic() + give_up_seconds
    while left := with_cookie(wanted):
        if time.monotonic() > deadline:
            return left
        _signal(left, signal.SIGKILL)
        _wait_until_gone(wanted, 0.5)
    return []


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; exit at once if that has happened already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans, so that they can be reaped."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _ancestry() -> set[int]:
    pids = {os.getpid()}
    pid = os.getpid()
    while pid > 1:
        try:
            pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        pids.add(pid)
    return pids


def _signal(processes: list[Process], number: signal.Signals) -> None:
    for process in processes:
        if is_alive(process):
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                continue  # gone meanwhile


def _wait_until_gone(wanted: Mapping[str, str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and with_cookie(wanted):
        time.sleep(0.05)
