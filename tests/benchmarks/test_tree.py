"""Memory and end of whole process trees, with real processes."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.measure import Command, HungError, measure
from benchmarks.tree import Patience, children

_MEGABYTES = 1_000_000
_CORES = frozenset(os.sched_getaffinity(0))


def _program(*lines: str) -> Command:
    return Command(("-c", "import os, subprocess, sys, time\n" + "\n".join(lines)), _CORES)


def test_memory_of_children_and_of_orphans_counts(tmp_path: Path) -> None:
    """A parent, its child, and a grandchild that outlives the child are one tree."""
    hold = "held = bytearray(b'x') * 100_000_000"
    ready = tmp_path / "ready"
    orphan = f"import time; {hold}; open({str(ready)!r}, 'w').close(); time.sleep(3)"
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {orphan!r}])"
    usage = measure(
        [
            _program(
                hold,
                f"subprocess.run([sys.executable, '-c', {child!r}])",
                f"while not os.path.exists({str(ready)!r}): time.sleep(0.01)",
                "time.sleep(2.5)",
            )
        ],
        tmp_path / "log",
    )
    assert usage.tree_bytes > 190 * _MEGABYTES


def test_shared_memory_counts_once(tmp_path: Path) -> None:
    """What a parent has before it forks is not counted for every child."""
    usage = measure(
        [
            _program(
                "held = bytearray(b'x') * 100_000_000",
                "pids = [os.fork() for _ in range(1)]",
                "time.sleep(2.5)",
                "os._exit(0) if pids[0] == 0 else os.waitpid(pids[0], 0)",
            )
        ],
        tmp_path / "log",
    )
    assert 90 * _MEGABYTES < usage.tree_bytes < 180 * _MEGABYTES


def test_idle_processes_are_ended_with_their_children(tmp_path: Path) -> None:
    """A tree that waits for ever is killed, orphans included, and said to hang."""
    before = children(os.getpid())
    child = "import time; time.sleep(600)"
    waits = _program(f"subprocess.Popen([sys.executable, '-c', {child!r}])", "time.sleep(600)")
    with pytest.raises(HungError, match="no processor time used"):
        measure([waits], tmp_path / "log", Patience(60.0, 1.0))
    assert children(os.getpid()) <= before


def test_busy_processes_are_ended_at_the_limit(tmp_path: Path) -> None:
    """Using the processor does not help past the limit in all."""
    with pytest.raises(HungError, match="not done after"):
        measure([_program("while True: pass")], tmp_path / "log", Patience(1.0, 60.0))


def test_a_short_run_within_its_patience_is_measured(tmp_path: Path) -> None:
    """Patience costs nothing when it is not needed."""
    usage = measure([Command(("-c", "pass"), _CORES, python=sys.executable)], tmp_path / "log", Patience(60.0, 30.0))
    assert usage.seconds < 30
