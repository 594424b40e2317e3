"""Small file systems, to be filled."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from shard.errors import DiskFullError
from tests.support.plans import tree_of


@contextmanager
def small_disk(mount: Path, size: str) -> Iterator[Path]:
    """Have one of this size, such as 64k, mounted at a new directory; skip the test where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(mount)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def filled_up(disk: Path, deed: Callable[[], object], *, lacking: Literal["pages", "files"] = "pages") -> int:
    """Do it with no room on such a disk, with room for one page or file, for two, until it succeeds. Returns how often
    it failed; every time as a full disk, by name and with a remedy, and without a temporary file or database left."""
    for free in range(500):
        ballast = fill(disk, free, lacking)
        try:
            deed()
        except DiskFullError as error:
            assert str(error).startswith(str(disk)) and re.search("free (space|some) there and start again", str(error))
        else:
            return free
        finally:
            for path in ballast:
                path.unlink()
        assert not [name for name in tree_of(disk) if name.endswith(".tmp") or "duckdb" in name]
    raise AssertionError("no room is enough")


def fill(disk: Path, free: int, lacking: Literal["pages", "files"]) -> list[Path]:
    """Fill such a disk but for so many pages, or files. Returns what fills it."""
    room = os.statvfs(disk)
    if lacking == "pages":
        path = disk / "ballast"
        path.write_bytes(bytes(room.f_bsize * max(0, room.f_bavail - free)))
        return [path]
    paths = [disk / f"ballast-{number}" for number in range(room.f_favail - free)]
    for path in paths:
        path.touch()
    return paths
