"""shard/processes.py with real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from shard.processes import Process, cookie, describe, end_all, is_alive, with_cookie
from tests.support.supervisors import kill, wait_until

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""
POLITE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("up", flush=True)
time.sleep(600)
"""
WILLING = "import time; print('up', flush=True); time.sleep(600)"
DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        print("up", flush=True)
        os.closerange(0, 3)
        time.sleep(600)
    os._exit(0)
os.wait()
"""
"""A grandchild in a session of its own, whose parents are gone, without a terminal, deaf to SIGTERM."""


@pytest.fixture
def mark() -> Iterator[dict[str, str]]:
    """A cookie that no other test uses."""
    found = cookie(f"test-{os.getpid()}-{time.monotonic_ns()}", "a host")
    yield found
    for process in with_cookie(found):
        kill(process)


def started(program: str, mark: dict[str, str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, **mark}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_the_cookie_finds_what_is_marked(mark: dict[str, str]) -> None:
    """Processes with the whole cookie are found, with their command; those of another run or host are not."""
    mine = started(WILLING, mark)
    run, host = mark.items()
    others = [started(WILLING, dict([run])), started(WILLING, dict([host])), started(WILLING, {**mark, host[0]: "h"})]
    (found,) = with_cookie(mark)
    assert mine.pid == found.pid
    assert "time.sleep" in found.command
    assert is_alive(found)
    for process in (mine, *others):
        process.kill()
        process.wait()
    assert with_cookie(mark) == []
    assert not is_alive(found)


def test_this_process_and_its_ancestors_are_not_found(mark: dict[str, str]) -> None:
    """Who sweeps is not swept, nor the shell it was started from."""
    program = (
        "import os, subprocess, sys\n"
        "from shard.processes import with_cookie, JOB_VARIABLE\n"
        "wanted = {JOB_VARIABLE: os.environ[JOB_VARIABLE]}\n"
        "print(len(with_cookie(wanted)))\n"
    )
    ended = subprocess.run(
        ["bash", "-c", '"$@"; true', "bash", sys.executable, "-c", program],
        env={**os.environ, **mark},
        capture_output=True,
        text=True,
    )
    assert (ended.stdout, ended.stderr) == ("0\n", "")


@pytest.mark.parametrize("program", [WILLING, STUBBORN, DAEMON], ids=["willing", "deaf to SIGTERM", "daemon"])
@pytest.mark.parametrize("grace", [0.0, 0.3])
def test_end_all(program: str, grace: float, mark: dict[str, str]) -> None:
    """Every marked process is ended, whatever it does against it, and the sweep says that none is left."""
    process = started(program, mark)
    wait_until(lambda: True if len(with_cookie(mark)) == 1 else None)
    begun = time.monotonic()
    assert end_all(mark, grace_seconds=grace) == []
    assert time.monotonic() - begun < 5.0
    assert with_cookie(mark) == []
    process.wait()


def test_a_willing_process_gets_its_grace(mark: dict[str, str]) -> None:
    """Within the grace a process may end by itself, and nobody waits longer than it takes."""
    process = started(POLITE, mark)
    begun = time.monotonic()
    assert end_all(mark, grace_seconds=60.0) == []
    assert time.monotonic() - begun < 30.0
    assert process.wait() == 7


def test_end_all_with_nothing_to_end(mark: dict[str, str]) -> None:
    """Nothing to end takes no grace."""
    begun = time.monotonic()
    assert end_all(mark, grace_seconds=60.0) == []
    assert time.monotonic() - begun < 10.0


def test_a_number_used_again_is_another_process(mark: dict[str, str]) -> None:
    """A process is known by number and start: a later one with its number is not taken for it."""
    process = started(WILLING, mark)
    found = describe(process.pid)
    assert found is not None
    assert is_alive(found)
    assert not is_alive(Process(found.pid, found.started - 1, found.command))
    process.kill()
    wait_until(lambda: True if describe(process.pid) is None else None)
    # Not waited for: its corpse is still in the table, and counts as gone.
    os.kill(process.pid, 0)
    assert not is_alive(found)
    process.wait()


_CHILD = """
import os, sys, time
from shard.processes import die_with_parent
die_with_parent(int(sys.argv[1]))
print("up", flush=True)
time.sleep(600)
"""
_PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else str(os.getpid())])
time.sleep(600)
"""


def test_death_of_the_parent(mark: dict[str, str]) -> None:
    """A child that has asked for it dies with its parent, even by SIGKILL."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, _CHILD], env={**os.environ, **mark}, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    assert len(with_cookie(mark)) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: True if not with_cookie(mark) else None)


def test_a_parent_that_is_gone_already() -> None:
    """A child whose parent died before it asked ends at once."""
    ended = subprocess.run([sys.executable, "-c", _CHILD, "1"], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (1, b"")
