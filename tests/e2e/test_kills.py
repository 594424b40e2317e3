"""The same bytes, whoever does the work and however often it is killed; nothing that is committed is done again."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fleet import DATASET, Fleet, Running, Shards, count, running_fleet
from tests.support.jobs import write_corpus

FILES = 96
KILLS = ["rank"] * 8 + ["supervisor"] * 4 + ["ssh"] * 3 + ["pdsh"] * 3 + ["launcher"] * 3
SEED = 20240607

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def many_files(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """The documents in so many files that no run gets far between two kills."""
    directory = tmp_path_factory.mktemp("hub-of-many")
    write_corpus(directory / DATASET, documents, files=FILES)
    return directory


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, many_files: Path) -> Iterator[Shards]:
    """What one rank on one host writes, undisturbed."""
    with running_fleet(tmp_path_factory.mktemp("reference"), many_files, {"localhost": 1}) as fleet:
        done = fleet.launch()
        assert done.returncode == 0, done.stderr
        assert fleet.verify_committed() == FILES
        yield fleet.shards()


def test_fetching_whole_files_gives_the_same_bytes(tmp_path: Path, many_files: Path, reference: Shards) -> None:
    """`--fetch download` on two ranks writes the payloads and indexes that streaming on one rank does."""
    with running_fleet(tmp_path, many_files, {"localhost": 2}) as fleet:
        done = fleet.launch("--fetch", "download")
        assert done.returncode == 0, done.stderr
        assert fleet.shards() == reference
        assert fleet.unfinished() == []


@pytest.mark.ssh
def test_two_hosts_give_the_same_bytes(tmp_path: Path, many_files: Path, reference: Shards) -> None:
    """Two hosts with two ranks each write the payloads and indexes that one rank does."""
    with running_fleet(tmp_path, many_files, {"alpha": 2, "beta": 2}) as fleet:
        done = fleet.launch()
        assert done.returncode == 0, done.stderr
        assert fleet.shards() == reference


@pytest.mark.ssh
def test_kills_at_random_moments(
    tmp_path: Path,
    many_files: Path,
    reference: Shards,
    record_property: Callable[[str, object], None],
) -> None:
    """More than 20 SIGKILLs of ranks, supervisors, ssh, pdsh and launcher, with the same command again in between, end
    in the same bytes; what was committed before a kill is the very same file at the end.

    Streams and downloads take turns.
    """
    chance = random.Random(SEED)
    schedule = chance.sample(KILLS, len(KILLS))
    killed: Counter[str] = Counter()
    starts = 0
    with running_fleet(tmp_path, many_files, {"alpha": 2, "beta": 2}) as fleet:
        kept = Kept(fleet)
        while schedule:
            # A unit takes one answer or two: however long a start goes on, it cannot complete the run.
            fleet.hold_after_answers(max(1, min(6, (FILES - kept.units()) // 8)), 1.0)
            running = fleet.start("--fetch", ("stream", "download")[starts % 2])
            starts += 1
            assert starts <= 40, killed
            while schedule and running.process.poll() is None:
                # A launcher may die at any moment; for the others there must be something to kill.
                if schedule[0] != "launcher" and not _working(fleet, running):
                    kept.look()
                    continue
                kept.look_for(chance.uniform(0, 3) if schedule[0] == "launcher" else chance.uniform(0.05, 0.9))
                if _kill(fleet, running, schedule[0], chance):
                    killed[schedule.pop(0)] += 1
            if schedule:
                assert running.wait(timeout=40) != 0, f"complete after {killed}"
        fleet.fast()
        running.wait(timeout=90)
        last = fleet.launch()
        assert last.returncode == 0, last.stdout + last.stderr
        kept.look()
        assert killed.total() >= 20
        record_property("kills", dict(killed))
        record_property("starts", starts)
        record_property("committed before the last start", len(kept.files))
        assert fleet.wait_until_quiet() < 15
        assert fleet.shards() == reference
        assert fleet.unfinished() == []
        assert fleet.verify_committed() == FILES


class Kept:
    """Watches the files of committed units: they must stay the very same files."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.files: dict[Path, tuple[int, int, int]] = {}
        """(inode, mtime in ns, size) when the unit was first seen committed."""

    def look(self) -> None:
        """Check those known, take in new ones."""
        time.sleep(0.02)
        for path, was in self.files.items():
            assert _identity(path) == was, f"{path} was written again"
        for home in self._fleet.homes.values():
            train, holdout = (home / self._fleet.base / name for name in ("shards", "holdout"))
            for record in train.glob("[0-9]*.json"):  # the last file of a commit
                for directory in (train, holdout):
                    for suffix in (".bin", ".idx", ".json"):
                        path = (directory / record.name).with_suffix(suffix)
                        if path not in self.files:
                            self.files[path] = _identity(path)

    def units(self) -> int:
        """How many units are committed."""
        self.look()
        return sum(path.parent.name == "shards" and path.suffix == ".json" for path in self.files)

    def look_for(self, seconds: float) -> None:
        """Look again and again for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.look()


def _identity(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _working(fleet: Fleet, running: Running) -> bool:
    """Whether both hosts are at work, for the first time or started again."""
    return count(running.events(), "host_started") >= 2 and len(fleet.supervisors()) == 2


def _kill(fleet: Fleet, running: Running, kind: str, chance: random.Random) -> bool:
    """Kill one process of a kind; whether there was one."""
    if kind == "launcher":
        pids = [running.pid] if running.process.poll() is None else []
    else:
        found = {"rank": fleet.ranks, "supervisor": fleet.supervisors}.get(kind, lambda: fleet.named(kind))()
        pids = [process.pid for process in found]
    if not pids:
        return False
    try:
        os.kill(chance.choice(sorted(pids)), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
