"""What a host has before a run: version, space, limits, who is at work, and units that are committed already."""

import os
import platform
import resource
import shutil
import time
from importlib.metadata import version
from pathlib import Path

import msgspec

from shard.errors import JobError
from shard.host.otherruns import RunHere, runs_here
from shard.records.hub import HubAnswer
from shard.records.job import Identity
from shard.records.progress import ranges_of
from shard.records.shards import DIRECTORY_FILE, place_of, read_directory


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of one host."""

    version: str
    python: str
    clock: float
    """Seconds since the epoch as this host sees them, at the end of the survey."""
    seconds: float
    """That the survey took here."""
    cores: int
    """That processes may use."""
    open_files: int | None
    """Soft limit of a process; None for no limit."""
    open_files_hard: int | None
    output_free: int
    """Bytes free where the shards go."""
    holdout_free: int
    same_disk: bool
    """Whether both directories share that space."""
    identity: Identity | None
    """Of the shards in the output directory, if there are any."""
    place: str
    """Equal where two hosts see one directory, as on a shared file system."""
    committed: list[tuple[int, int]]
    """Ordinals with a record in both directories, as [start, end) ranges."""
    runs: list[RunHere]
    hub: HubAnswer | None = None
    """None when it was not asked."""
    problem: str = ""
    """Why the directories cannot be used, if they cannot."""


def survey(output_dir: Path, holdout_dir: Path, hub: HubAnswer | None, *, began: float) -> Survey:
    """Look at this host; nothing is made or changed. `began` is the host's time when the survey began."""
    output, holdout = output_dir.expanduser(), holdout_dir.expanduser()
    above_output, above_holdout = _existing(output), _existing(holdout)
    identity, problem = None, _not_writable(above_output) or _not_writable(above_holdout)
    if (output / DIRECTORY_FILE).exists():
        try:
            identity = read_directory(output).identity
        except JobError as error:
            problem = str(error)
    stems = _record_stems(output) & _record_stems(holdout)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    runs = runs_here((output, holdout))
    now = time.time()
    return Survey(
        version=version("shardfleet"),
        python=platform.python_version(),
        clock=now,
        seconds=max(0.0, now - began),
        cores=len(os.sched_getaffinity(0)),
        open_files=_limit(soft),
        open_files_hard=_limit(hard),
        output_free=shutil.disk_usage(above_output).free,
        holdout_free=shutil.disk_usage(above_holdout).free,
        same_disk=above_output.stat().st_dev == above_holdout.stat().st_dev,
        identity=identity,
        place=place_of(output),
        committed=ranges_of(int(stem) for stem in stems),
        runs=runs,
        hub=hub,
        problem=problem,
    )


def _record_stems(directory: Path) -> set[str]:
    try:
        names = os.listdir(directory)  # noqa: PTH208  a Path for each of 30,000 names would take longer
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return set()  # nothing there, or nothing that we may see
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return {stem for stem in stems if stem.isascii() and stem.isdigit()}


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that exists."""
    return next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.is_dir())


def _not_writable(directory: Path) -> str:
    if os.access(directory, os.W_OK | os.X_OK):
        return ""
    return f"{directory}: cannot write there; choose another directory, or have it made yours"


def _limit(number: int) -> int | None:
    return None if number == resource.RLIM_INFINITY else number
