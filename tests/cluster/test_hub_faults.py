"""What becomes of a run when the Hub, a disk or a machine's memory fails: a row of docs/faults.md for each."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.faultlog import AGAIN, EXIT, LONG, SIZE
from tests.support.faultrun import bound, for_a_while, happened, prove, seconds_until, under_way
from tests.support.fleet import Fleet, Running, Shards, count
from tests.support.hub import RunningHub
from tests.support.netns import Cluster
from tests.support.netns_tools import wait_for

pytestmark = [pytest.mark.root, pytest.mark.ssh, pytest.mark.slow]


def test_a_full_disk(lean_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """A host without room gives up and says so, others do what it has not committed, and the run completes: exit 0."""
    fleet = lean_fleet
    cluster["h2"].mount_disk(fleet.base, "64m")
    running = under_way(fleet, answer=0.5)
    cluster["h2"].fill_disk(fleet.base)
    full = time.time()
    running.wait_for(happened("units_moved"))
    seconds = seconds_until(running, "units_moved", full)
    fleet.fast()
    assert running.wait(90) == 0, running.text
    assert count(running.events(), "unit_done", "h2") >= 1
    assert seconds < bound(5.0)
    prove(fleet, cluster, undisturbed, {"disk_full": {"moved": seconds}})


def refuse(hub: RunningHub, status: int, **headers: str) -> None:
    """From now on the Hub answers nothing but this, wherever it is asked."""
    hub.clear()
    every = ("api", "resolve", "cdn")
    hub.arm(
        *({"kind": "status", "where": where, "status": status, "times": None, "headers": headers} for where in every)
    )


def requests(hub: RunningHub) -> int:
    """How many the Hub has had from the ranks."""
    stats = hub.stats()
    return int(stats["resolve"]) + int(stats["cdn"])


def refused(
    fleet: Fleet, running: Running, status: int, length: float, most: Callable[[float], float], **headers: str
) -> dict[str, float]:
    """Have the Hub refuse everything for a while, then serve again: seconds from then on, once the run has completed.

    Nothing may fail meanwhile, and there may be no more than so many requests.
    """
    refuse(fleet.hub, status, **headers)
    before, began = requests(fleet.hub), time.monotonic()
    for_a_while(running, length)
    asked, done = requests(fleet.hub) - before, count(running.events(), "unit_done")
    fleet.fast()
    back = time.monotonic()
    running.wait_for(lambda events: count(events, "unit_done") > done, timeout=120)
    again = time.monotonic() - back
    assert running.wait(120) == 0, running.text
    assert count(running.events(), "unit_failed") == 0
    assert 1 <= asked <= most(back - began), f"{asked} requests in {back - began:.1f} s"
    return {SIZE: length, AGAIN: again, EXIT: time.monotonic() - back}


def test_the_hub_is_down_for_long(host_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """Ranks ask less and less often, go on when the Hub is back, and no unit is lost: exit 0. With
    SHARDFLEET_FAULT_LONG=1 it is down for two minutes, else for less."""
    running = under_way(host_fleet)
    # Waits double: half a second, one, two, … a minute. A rank has a unit in work, and one that it reads ahead.
    seconds = refused(host_fleet, running, 503, 120.0 if LONG else 12.0, lambda _: 6 * 2 * (10 if LONG else 7))
    assert seconds[AGAIN] < 60 + 30
    prove(host_fleet, cluster, undisturbed, {"hub_503": seconds})


def test_a_storm_of_429(host_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """Told by every answer how long to wait, no rank asks before, and they do not all come back at once: exit 0."""
    running = under_way(host_fleet)
    wait = 4
    headers = {"RateLimit": f'"resolvers";r=0;t={wait}', "Retry-After": str(wait)}
    seconds = refused(host_fleet, running, 429, 10.0, lambda lasted: 6 * 2 * (lasted / wait + 1), **headers)
    assert seconds[AGAIN] < bound(wait)
    prove(host_fleet, cluster, undisturbed, {"hub_429": seconds})


@contextmanager
def memory_group() -> Iterator[Path]:
    """A control group of the kernel's memory controller. Skips the test where there is none to be had."""
    name = f"shardfleet-{os.getpid()}"
    for root in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        group = Path(root, name)
        with suppress(OSError):
            group.mkdir()
            if (group / "memory.max").exists() or (group / "memory.limit_in_bytes").exists():
                break
            group.rmdir()
    else:
        pytest.skip("needs a memory controller: mount -t cgroup -o memory none DIR, or cgroup2 that delegates it")
    try:
        yield group
    finally:
        wait_for(lambda: None if (group / "cgroup.procs").read_text() else True, "the group is empty")
        group.rmdir()


def kills(group: Path) -> int:
    """How often the kernel has killed for want of memory in a group."""
    found = group / "memory.events"
    lines = (found if found.exists() else group / "memory.oom_control").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def test_a_rank_out_of_memory(host_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """The kernel kills a rank that finds no memory in the middle of a unit: the unit is tried again and not put aside,
    another rank takes the place, and the run completes: exit 0."""
    fleet = host_fleet
    with memory_group() as group:
        running = under_way(fleet)
        old = {process.pid for process in cluster["h3"].of_role("ranks")}
        victim = min(old)
        limit = group / "memory.max"
        (limit if limit.exists() else group / "memory.limit_in_bytes").write_text(str(1 << 16))
        (group / "cgroup.procs").write_text(str(victim))
        wait_for(lambda: kills(group) or None, "the kernel kills for want of memory", 30.0)
        began = time.monotonic()

        def new() -> bool | None:
            return bool({process.pid for process in cluster["h3"].of_role("ranks")} - old) or None

        wait_for(new, "a new rank", 30.0)
        seconds = time.monotonic() - began
        fleet.fast()
        assert running.wait(90) == 0, running.text
        assert kills(group) == 1
    events = running.events()
    (exited,) = (event for event in events if event["event"] == "rank_exited")
    assert (exited["host"], exited["how"]) == ("h3", "killed by SIGKILL")
    assert [event["quarantined"] for event in events if event["event"] == "unit_failed"] in ([False], [False, False])
    prove(fleet, cluster, undisturbed, {"oom_kill": {AGAIN: seconds}})
