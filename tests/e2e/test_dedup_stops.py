"""Ctrl+C, and Ctrl+C once more, while `shardfleet dedup RUN` is at work, and while `abort` stops it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deduped import DATASETS, asked, dedup_argv, first_run, wait_for
from tests.support.fleet import SHARDFLEET, Fleet, Running, count, running_fleet
from tests.support.holds import held

pytestmark = pytest.mark.ssh

CTRL_C = b"\x03"
SECONDS_TO_EXIT = 10.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, copies_hub: Path) -> Iterator[Fleet]:
    """Two hosts whose run is complete, with signatures; ranks that do not heed SIGTERM are given a minute."""
    with running_fleet(tmp_path_factory.mktemp("stops"), copies_hub, {"alpha": 1, "beta": 1}, "--grace", "60") as fleet:
        done = fleet.launch("--plain", "--signatures", *DATASETS)
        assert done.returncode == 0, done.stdout + done.stderr
        yield fleet


def last(fleet: Fleet, host: str, suffix: str) -> Path:
    return sorted((fleet.homes[host] / fleet.base / "shards").glob(f"0*.{suffix}"))[-1]


def stoppers(fleet: Fleet) -> list[int]:
    """Processes on the hosts that stop the run there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue  # gone meanwhile
        if b"stop" in words and b"shard" in words and first_run(fleet).name in str(words):
            found.append(int(path.parent.name))
    return found


def of_group(group: int) -> list[str]:
    """Living processes of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, number = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # gone meanwhile
        if int(number) == group and state not in "ZX":
            found.append(path.parent.name)
    return found


def require_nothing_left(fleet: Fleet) -> None:
    fleet.wait_until_quiet(5.0)
    wait_for(lambda: not asked(fleet) and not stoppers(fleet), 5.0)
    assert not [path for home in fleet.homes.values() for path in (home / fleet.base).rglob("*.tmp")]


def test_twice_while_hosts_are_asked(fleet: Fleet) -> None:
    """Whoever presses Ctrl+C twice at a terminal has the hosts stopped as by one: exit 130, and nothing left there."""
    with held(last(fleet, "beta", "sig")) as hold:
        running = fleet.begin(dedup_argv(fleet, "never"), terminal=True)
        hold.wait()
        running.type(CTRL_C)
        wait_for(lambda: "stopping every host" in running.text)
        running.type(CTRL_C)
        assert running.wait(SECONDS_TO_EXIT) == 130, running.text
        require_nothing_left(fleet)
    assert "Traceback" not in running.text


def test_three_times_while_hosts_are_asked(fleet: Fleet) -> None:
    """A third Ctrl+C does not wait for a host that cannot be asked: exit 3, as nothing is shown."""
    assert fleet.loopback is not None
    with held(last(fleet, "beta", "sig")) as hold:
        running = fleet.begin(dedup_argv(fleet, "never"), terminal=True)
        hold.wait()
        beta = fleet.loopback.hosts["beta"].process
        beta.send_signal(signal.SIGSTOP)  # it takes no new connection
        running.type(CTRL_C)
        wait_for(lambda: "stopping every host" in running.text)
        running.type(CTRL_C)
        wait_for(lambda: running.text.count("^C") == 2)
        assert running.process.poll() is None
        running.type(CTRL_C)
        assert running.wait(8.0) == 3, running.text
        beta.send_signal(signal.SIGCONT)
    wait_for(lambda: not asked(fleet))


def signing(fleet: Fleet) -> Running:
    """A dedup whose ranks make one signature again, at a terminal; held while they do."""
    last(fleet, "alpha", "sig").unlink()
    return fleet.begin(dedup_argv(fleet, "never", "--plain"), terminal=True)


def test_twice_while_ranks_sign(fleet: Fleet) -> None:
    """Ctrl+C typed while a rank that ignores SIGTERM signs waits for its grace, and a second one does not: exit 130,
    nothing left. `abort` meanwhile, ended by Ctrl+C, says that it has shown nothing and leaves nothing of its own;
    again it shows that nothing is left."""
    with held(last(fleet, "alpha", "bin")) as hold:
        running = signing(fleet)
        hold.wait()
        (rank,) = fleet.ranks()
        os.kill(rank.pid, signal.SIGSTOP)
        aborting = fleet.begin([SHARDFLEET, "abort", first_run(fleet).name], terminal=True)
        wait_for(lambda: bool(stoppers(fleet)))
        aborting.type(CTRL_C)
        assert aborting.wait(8.0) == 3, aborting.text
        assert "interrupted before every host was shown to be quiet" in aborting.text
        wait_for(lambda: not of_group(aborting.pid), 5.0)
        running.type(CTRL_C)
        running.wait_for(lambda events: count(events, "host_stopping", "alpha") == 1)
        running.type(CTRL_C)
        assert running.wait(SECONDS_TO_EXIT) == 130, running.text
    require_nothing_left(fleet)
    again = fleet.call("abort", first_run(fleet).name)
    assert (again.returncode, "no process is left on 2 hosts" in again.stdout) == (0, True), again.stderr


def test_once_when_ranks_have_just_signed(fleet: Fleet) -> None:
    """Ctrl+C that comes too late to stop the ranks, which have made the last signature, stops what was to follow: exit
    130, and nothing is written."""
    sidecar = last(fleet, "beta", "sig")
    sidecar.unlink()
    with held(sidecar.with_suffix(".bin")) as hold:
        running = fleet.begin(dedup_argv(fleet, "never", "--plain"), terminal=True)
        hold.wait()
        running.wait_for(lambda events: count(events, "host_done", "alpha") == 1)  # it reads its records no more
        alpha = held(last(fleet, "alpha", "json"))
    with alpha as hold:  # which are gathered when all ranks have ended
        hold.wait()
        assert count(running.events(), "host_done") == 2
        running.type(CTRL_C)
        wait_for(lambda: bool(stoppers(fleet)))
    assert running.wait(30) == 130, running.text
    assert "complete; no process of the run is left" in running.text
    require_nothing_left(fleet)
    assert sidecar.exists() and not [home for home in fleet.homes.values() if (home / fleet.base / "never").exists()]
