"""What a host has before a run: version, space, and units that are committed already."""

import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import msgspec

from shard.errors import JobError
from shard.job import Identity
from shard.progress import ranges_of
from shard.records import DIRECTORY_FILE, place_of, read_directory


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of one host."""

    version: str
    python: str
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
    problem: str = ""
    """Why the directories cannot be used, if they cannot."""


def survey(output_dir: Path, holdout_dir: Path) -> Survey:
    """Look at this host; nothing is made or changed."""
    output, holdout = output_dir.expanduser(), holdout_dir.expanduser()
    identity, problem = None, ""
    if (output / DIRECTORY_FILE).exists():
        try:
            identity = read_directory(output).identity
        except JobError as error:
            problem = str(error)
    stems = _record_stems(output) & _record_stems(holdout)
    above_output, above_holdout = _existing(output), _existing(holdout)
    return Survey(
        version=version("shardfleet"),
        python=platform.python_version(),
        output_free=shutil.disk_usage(above_output).free,
        holdout_free=shutil.disk_usage(above_holdout).free,
        same_disk=above_output.stat().st_dev == above_holdout.stat().st_dev,
        identity=identity,
        place=place_of(output),
        committed=ranges_of(int(stem) for stem in stems),
        problem=problem,
    )


def _record_stems(directory: Path) -> set[str]:
    return {path.stem for path in directory.glob("[0-9]*.json") if path.stem.isdigit()} if directory.is_dir() else set()


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that exists."""
    return next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.is_dir())
