"""What becomes of a run when the way to a host is cut: a row of docs/faults.md for each."""

import time
from pathlib import Path

import pytest

from tests.support.faultlog import AGAIN, EXIT, LONG, SIZE, ZERO
from tests.support.faultrun import (
    at_work,
    bound,
    for_a_while,
    go_on,
    prove,
    seconds_until,
    under_way,
    until_gone,
)
from tests.support.fleet import Event, Fleet, Shards, count
from tests.support.netns import Cluster

pytestmark = [pytest.mark.root, pytest.mark.ssh, pytest.mark.slow]


def impatient(directory: Path, cluster: Cluster) -> tuple[int, tuple[str, ...]]:
    """Seconds after which an attempt to connect is given up, and the options for it: as ever only when time is no
    matter."""
    if LONG:
        return 20, ()
    config = directory / "impatient_config"
    config.write_text(f"ConnectTimeout 5\n{cluster.ssh_config.read_text()}")
    return 5, ("--ssh-config", str(config))


def moved_by_loss(events: list[Event]) -> list[float]:
    """When units were moved after a host was lost; before, it is living hosts that help each other."""
    lost = next((number for number, event in enumerate(events) if event["event"] == "host_lost"), len(events))
    return [float(event["time"]) for event in events[lost:] if event["event"] == "units_moved"]


def test_a_link_down_for_good(tmp_path: Path, lean_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """The host is lost, its units move, the run ends without it: exit 3, the host named. It stops by its lease. With
    SHARDFLEET_FAULT_LONG=1 it is lost after the default time, else sooner."""
    fleet = lean_fleet
    connecting, options = impatient(tmp_path, cluster)
    lost_after = 45.0 if LONG else 10.0
    running = under_way(fleet, *options, "--lost-after", f"{lost_after:g}", "--lease", "12")
    cluster["h2"].link(up=False)
    cut, cut_at = time.monotonic(), time.time()
    zero = until_gone(fleet, cluster, cut, ["h2"])
    running.wait_for(lambda events: bool(moved_by_loss(events)), timeout=120)
    seconds = {
        SIZE: lost_after,
        "lost": seconds_until(running, "host_lost", cut_at),
        "moved": moved_by_loss(running.events())[0] - cut_at,
        ZERO: zero,
    }
    fleet.fast()
    assert running.wait(90) == 3, running.text
    assert "not shown to be quiet: h2" in running.text
    # It is tried to be reached at half the time, and lost when that has failed and it has been silent long enough.
    assert lost_after - 5 < seconds["lost"] <= seconds["moved"]
    assert seconds["moved"] < max(lost_after, lost_after / 2 + connecting) + 15
    assert zero < bound(12 / 4 + 12)
    cluster["h2"].link(up=True)
    go_on(fleet)
    prove(fleet, cluster, undisturbed, {"link_down": seconds})


def test_a_link_down_when_the_others_are_done(
    tmp_path: Path, lean_fleet: Fleet, cluster: Cluster, undisturbed: Shards
) -> None:
    """A host that is cut off while others wait for units of its share is lost no later, and they do them: exit 3."""
    fleet = lean_fleet
    connecting, options = impatient(tmp_path, cluster)
    running = under_way(fleet, *options, "--lost-after", "10", "--lease", "12", first=1.0, answer=1.0)
    # By now it is known how far behind it will be: it is asked, in vain, for units of its share.
    running.wait_for(lambda events: count(events, "unit_done", "h2") >= 4)
    cluster["h2"].link(up=False)
    cut = time.time()
    fleet.fast()
    assert running.wait(60 + 2 * connecting) == 3, running.text
    seconds = {SIZE: 10.0, "lost": seconds_until(running, "host_lost", cut)}
    assert "24 of 24 units committed" in running.text
    assert seconds["lost"] < max(10, 10 / 2 + connecting) + 15
    cluster["h2"].link(up=True)
    go_on(fleet)
    prove(fleet, cluster, undisturbed, {"link_down_idle": seconds})


def test_a_link_down_for_20_seconds(host_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """With default settings a cut of 20 s costs nothing but the time: the host is not lost, started again, or relieved
    of its units."""
    fleet = host_fleet
    running = under_way(fleet, answer=4.0)
    cluster["h2"].link(up=False)
    for_a_while(running, 20.0)
    events = running.events()
    # The others may help each other.
    assert [event for event in events if event["event"] == "units_moved" and "h2" in event["why"]] == []
    done = count(events, "unit_done", "h2")
    assert done < 8
    cluster["h2"].link(up=True)
    back = time.monotonic()
    running.wait_for(lambda events: count(events, "unit_done", "h2") > done)
    seconds = time.monotonic() - back
    fleet.fast()
    assert running.wait(90) == 0, running.text
    assert not {"host_lost", "host_restarted"} & {event["event"] for event in running.events()}
    prove(fleet, cluster, undisturbed, {"link_down_20": {AGAIN: seconds}})


def test_ctrl_c_while_a_host_is_cut_off(
    tmp_path: Path, host_fleet: Fleet, cluster: Cluster, undisturbed: Shards
) -> None:
    """The hosts that can be reached are stopped, the one that cannot is named: exit 3. Its lease ends it."""
    fleet = host_fleet
    connecting, options = impatient(tmp_path, cluster)
    running = at_work(fleet, *options, "--lease", "5")
    cluster["h2"].link(up=False)
    cut = time.monotonic()
    running.interrupt()
    others = until_gone(fleet, cluster, cut, ["h1", "h3"])
    zero = until_gone(fleet, cluster, cut)
    assert running.wait(90) == 3, running.text
    left = time.monotonic() - cut
    assert "NOT shown to be quiet: h2." in running.text
    assert others < bound(1.4)
    assert zero < bound(7.4)
    cluster["h2"].link(up=True)
    go_on(fleet)
    prove(fleet, cluster, undisturbed, {"ctrl_c_cut_off": {SIZE: connecting, ZERO: zero, EXIT: left}})
