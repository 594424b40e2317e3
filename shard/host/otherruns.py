"""Which runs have processes on this host, seen in /proc by their cookie (Linux)."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from shard.processes import JOB_VARIABLE, describe

_COOKIE = f"{JOB_VARIABLE}=".encode()
_SUPERVISOR = " -m shard run --job "


class RunHere(msgspec.Struct, frozen=True, kw_only=True):
    """One run and what there is of it on this host."""

    run_id: str
    processes: int
    supervised: bool
    """Whether its supervisor lives; what else carries its cookie was left over."""
    writes_here: bool
    """Whether it has a file open in the directories that were asked about, such as their lock."""


def runs_here(directories: Sequence[Path]) -> list[RunHere]:
    """Every run with a living process of this user (of all users, for root), by run id.

    `directories` need not exist.
    """
    real = [os.path.realpath(directory) for directory in directories]
    by_run: dict[str, list[int]] = defaultdict(list)
    for pid, run_id in _bearers():
        by_run[run_id].append(pid)
    return [
        RunHere(
            run_id=run_id,
            processes=len(pids),
            supervised=any(_supervises(pid) for pid in pids),
            writes_here=any(_is_below(path, real) for pid in pids for path in _open_files(pid)),
        )
        for run_id, pids in sorted(by_run.items())
    ]


def _bearers() -> Iterator[tuple[int, str]]:
    """(process id, run id) of living processes with a cookie, this one left out."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # gone meanwhile, or another user's
        for variable in variables:
            if variable.startswith(_COOKIE) and describe(int(entry.name)) is not None:
                yield int(entry.name), variable.removeprefix(_COOKIE).decode(errors="replace")
                break


def _supervises(pid: int) -> bool:
    process = describe(pid)
    return process is not None and _SUPERVISOR in process.command


def _open_files(pid: int) -> Iterator[str]:
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            yield str(link.readlink())
    except OSError:
        return  # gone meanwhile


def _is_below(path: str, directories: Sequence[str]) -> bool:
    return any(path.startswith(f"{directory}/") for directory in directories)
