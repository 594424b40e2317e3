"""What becomes of a run when it is stopped, or when something of it is killed: a row of docs/faults.md for each."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.faultlog import AGAIN, EXIT, ZERO
from tests.support.faultrun import (
    assert_nothing_left,
    at_work,
    bound,
    go_on,
    prove,
    until_gone,
    workers,
)
from tests.support.fleet import Fleet, Running, Seen, Shards, count
from tests.support.hardranks import DAEMONS, DEAF, ignores_sigterm, interpreter
from tests.support.netns import Cluster
from tests.support.netns_fleet import strike_launcher
from tests.support.netns_tools import wait_for

pytestmark = [pytest.mark.root, pytest.mark.ssh, pytest.mark.slow]

GRACE = 3.0


def struck(
    running: Running, fleet: Fleet, cluster: Cluster, strike: Callable[[], object], *, code: int, prototype: float
) -> dict[str, float]:
    """Do something to a run under way that is to end it everywhere: seconds, once it has, and with the right code."""
    began = time.monotonic()
    strike()
    zero = until_gone(fleet, cluster, began)
    assert running.wait(30) == code, running.text
    seconds = {ZERO: zero, EXIT: time.monotonic() - began}
    assert_nothing_left(cluster)
    assert zero < bound(prototype)
    return seconds


def hang_up(running: Running) -> None:
    assert running.terminal is not None
    running.terminal.hang_up()


def test_told_to_stop(host_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """Ctrl+C, as a signal to the process group and typed at a terminal, SIGTERM, SIGHUP and a terminal that is closed
    stop every host: exit 130. Each time the same command goes on from there, to the same bytes."""
    fleet, measured = host_fleet, {}

    def stopped(row: str, strike: Callable[[Running], object], *, terminal: bool = False) -> Running:
        running = at_work(fleet, terminal=terminal)
        measured[row] = struck(running, fleet, cluster, lambda: strike(running), code=130, prototype=1.4)
        return running

    first = stopped("ctrl_c", Running.interrupt)
    assert "stopped; no process of the run is left on any host" in first.text
    stopped("ctrl_c_typed", lambda running: running.type(b"\x03"), terminal=True)
    stopped("sigterm", lambda running: running.send(signal.SIGTERM))
    stopped("sighup", lambda running: running.send(signal.SIGHUP))
    stopped("hang_up", hang_up, terminal=True)
    go_on(fleet)
    prove(fleet, cluster, undisturbed, measured)


def test_ranks_that_ignore_sigterm(tmp_path: Path, host_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """They are killed when the grace is over, or at once after a second Ctrl+C: exit 130."""
    fleet, measured = host_fleet, {}
    python = ("--remote-python", interpreter(tmp_path / "deaf", DEAF))
    running = at_work(fleet, *python, "--grace", f"{GRACE:g}")
    assert all(map(ignores_sigterm, fleet.ranks()))
    measured["ctrl_c_deaf"] = struck(running, fleet, cluster, running.interrupt, code=130, prototype=3.9)
    # Or they were not as hard to stop as they were to be.
    assert measured["ctrl_c_deaf"][ZERO] > GRACE

    running = at_work(fleet, *python, "--grace", "60")

    def twice() -> None:
        running.interrupt()
        running.wait_for(lambda events: count(events, "host_stopping") == len(cluster.names))
        running.interrupt()

    measured["ctrl_c_twice"] = struck(running, fleet, cluster, twice, code=130, prototype=3.9)
    go_on(fleet)
    prove(fleet, cluster, undisturbed, measured)


def test_daemonised_grandchildren(tmp_path: Path, host_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """Processes that have left their rank's session and parent and ignore SIGTERM are found and killed: exit 130."""
    fleet = host_fleet
    python = ("--remote-python", interpreter(tmp_path / "daemons", DEAF + DAEMONS))
    running = at_work(fleet, *python, "--grace", f"{GRACE:g}")
    daemons = [process for process in workers(fleet, cluster) if process.name == "sleep"]
    ranks = {process.pid for process in fleet.ranks()}
    assert len(daemons) == len(ranks) == 6
    assert all(ignores_sigterm(daemon) and daemon.group == daemon.pid for daemon in daemons)
    assert ranks.isdisjoint(daemon.parent for daemon in daemons)
    measured = {"ctrl_c_daemons": struck(running, fleet, cluster, running.interrupt, code=130, prototype=4.0)}
    go_on(fleet)
    prove(fleet, cluster, undisturbed, measured)


def test_launcher_or_pdsh_killed(host_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """SIGKILL of the launcher leaves nobody to tell the hosts, and SIGKILL of pdsh no way to hear them: they stop by
    themselves, because their standard input ends."""
    fleet, measured = host_fleet, {}
    running = at_work(fleet)
    seconds = struck(running, fleet, cluster, lambda: strike_launcher(fleet, "launcher"), code=-9, prototype=3.1)
    measured["kill_launcher"] = {ZERO: seconds[ZERO]}
    running = at_work(fleet)
    measured["kill_pdsh"] = struck(
        running, fleet, cluster, lambda: strike_launcher(fleet, "pdsh"), code=1, prototype=0.5
    )
    go_on(fleet)
    prove(fleet, cluster, undisturbed, measured)


def test_parts_of_a_run_killed(host_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """SIGKILL of a host's ssh, of another's supervisor and of the third one's rank, in one run: each host is at work
    again within seconds, and the run completes: exit 0."""
    fleet, measured = host_fleet, {}
    fleet.slow(3.0)
    running = fleet.start("--plain")
    running.wait_for(lambda events: count(events, "unit_done") >= 1 and len(fleet.ranks()) == 6)

    old = workers(fleet, cluster, ["h1"])
    began = time.monotonic()
    assert strike_launcher(fleet, "ssh h1")
    measured["kill_ssh"] = {ZERO: until_dead(old, began), AGAIN: until_ranks(cluster, "h1", old, 2, began)}

    old = workers(fleet, cluster, ["h2"])
    began = time.monotonic()
    assert cluster["h2"].strike("supervisor")
    measured["kill_supervisor"] = {ZERO: until_dead(old, began), AGAIN: until_ranks(cluster, "h2", old, 2, began)}

    old = cluster["h3"].of_role("ranks")
    began = time.monotonic()
    os.kill(old[0].pid, signal.SIGKILL)
    measured["kill_rank"] = {AGAIN: until_ranks(cluster, "h3", old, 1, began)}

    fleet.fast()
    assert running.wait(90) == 0, running.text
    events = running.events()
    assert count(events, "host_lost") == 0
    assert [count(events, "host_restarted", name) for name in cluster.names] == [1, 1, 0]
    assert count(events, "rank_exited", "h3") == 1
    assert all(seconds < bound(3.0) for row in measured.values() for seconds in row.values()), measured
    prove(fleet, cluster, undisturbed, measured)


def until_dead(old: list[Seen], since: float) -> float:
    """Seconds until none of these processes is left."""
    wait_for(lambda: None if any(map(lives, old)) else True, "the old processes end", 60.0)
    return time.monotonic() - since


def lives(process: Seen) -> bool:
    try:
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until_ranks(cluster: Cluster, host: str, old: list[Seen], number: int, since: float) -> float:
    """Seconds until a host has so many ranks that are none of the old ones."""
    known = {process.pid for process in old}

    def new() -> bool | None:
        return len({process.pid for process in cluster[host].of_role("ranks")} - known) >= number or None

    wait_for(new, f"{host} has {number} new ranks", 60.0)
    return time.monotonic() - since
