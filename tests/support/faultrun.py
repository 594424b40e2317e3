"""Runs on test hosts into which something breaks: until they work, until nothing is left, until all is well again.

Everything is measured by reading /proc here, independently of the code under test.
"""

import time
from collections.abc import Callable, Iterable

from tests.support import faultlog
from tests.support.faultlog import Measured
from tests.support.fleet import Event, Fleet, Running, Seen, Shards, count
from tests.support.netns import Cluster
from tests.support.netns_roles import is_sshd
from tests.support.netns_tools import wait_for


def bound(prototype: float) -> float:
    """Seconds after which something hangs, by those that the prototype took on a quiet machine."""
    return 4 * prototype + 10


def at_work(fleet: Fleet, *args: str, terminal: bool = False) -> Running:
    """A run under way: every rank of every host is there, some units are done, now or before; the others wait for the
    Hub. Each start does only a few, so that there is work for many starts."""
    fleet.fast()
    everyone = sum(int(line.split()[1]) for line in (fleet.directory / "hosts.txt").read_text().splitlines())
    fleet.hold_after(1)
    running = fleet.start("--plain", *args, terminal=terminal)
    running.wait_for(
        lambda events: count(events, "unit_done") + count(events, "units_kept") >= 1 and len(fleet.ranks()) == everyone
    )
    return running


def under_way(fleet: Fleet, *args: str, answer: float = 2.0, first: float = 0.4) -> Running:
    """A run in which every host has done a unit; from now on each answer of the Hub takes so many seconds."""
    fleet.slow(first)
    running = fleet.start("--plain", *args)
    running.wait_for(lambda events: all(count(events, "unit_done", name) >= 1 for name in fleet.homes))
    fleet.fast()
    fleet.slow(answer)
    return running


def seconds_until(running: Running, kind: str, cut: float) -> float:
    """Seconds from a time of the wall clock to the first event of a kind."""
    return next(float(event["time"]) for event in running.events() if event["event"] == kind) - cut


def for_a_while(running: Running, seconds: float) -> None:
    """Let so much time pass; fails when the run ends before."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert running.process.poll() is None, running.text
        time.sleep(0.05)


def happened(kind: str, host: str | None = None) -> Callable[[list[Event]], bool]:
    return lambda events: count(events, kind, host) > 0


def workers(fleet: Fleet, cluster: Cluster, hosts: Iterable[str] | None = None) -> list[Seen]:
    """Living processes of the run on hosts, on all of them unless named."""
    cookie = f"SHARDFLEET_JOB={fleet.run_id}"
    return [process for name in hosts or cluster.names for process in cluster[name].processes(cookie)]


def until_gone(fleet: Fleet, cluster: Cluster, since: float, hosts: Iterable[str] | None = None) -> float:
    """Seconds from `since` until no process of the run is left on the hosts."""
    names = tuple(hosts or cluster.names)
    wait_for(lambda: None if workers(fleet, cluster, names) else True, f"the run ends on {', '.join(names)}", 60.0)
    return time.monotonic() - since


def _left(cluster: Cluster) -> list[Seen]:
    """Whatever runs on a host, of this run or not, but for OpenSSH's: of a cut it learns late."""
    running = (process for host in cluster.hosts.values() for process in host.processes())
    return [process for process in running if not is_sshd(process.pid) and process.name != "sftp-server"]


def assert_nothing_left(cluster: Cluster) -> None:
    """Fails when anything but OpenSSH runs on a host, a moment later at the latest."""
    deadline = time.monotonic() + 5.0
    while left := _left(cluster):
        assert time.monotonic() < deadline, "\n".join(map(str, left))
        time.sleep(0.02)


def go_on(fleet: Fleet) -> None:
    """The same command again, on a Hub that answers: it completes."""
    fleet.fast()
    again = fleet.launch("--plain")
    assert again.returncode == 0, again.stdout + again.stderr


def prove(fleet: Fleet, cluster: Cluster, undisturbed: Shards, measured: Measured) -> None:
    """Nothing runs any more, every shard is byte for byte that of the undisturbed run, and `verify RUN` agrees.

    Only then is kept what was measured.
    """
    assert_nothing_left(cluster)
    assert fleet.shards() == undisturbed
    assert fleet.unfinished() == []
    verified = fleet.call("verify", fleet.run_id)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    faultlog.write(measured)
