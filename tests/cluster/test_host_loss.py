"""What becomes of a run when a host, or the way to it, is gone."""

import signal
from collections.abc import Callable

import pytest

from tests.support.fleet import Event, Fleet, Running, Shards, count
from tests.support.netns import Cluster
from tests.support.netns_fleet import strike_launcher
from tests.support.netns_host import Host
from tests.support.netns_tools import wait_for

pytestmark = [pytest.mark.root, pytest.mark.ssh, pytest.mark.slow]

SOON = ("--lost-after", "10", "--lease", "12", "--plain")


def begin(fleet: Fleet, *args: str, units: int = 3) -> Running:
    """A run under way on every host, with some units done."""
    fleet.slow(0.5)
    running = fleet.start(*SOON, *args)
    running.wait_for(lambda events: all(count(events, "unit_done", name) >= 1 for name in fleet.homes))
    return running


def slower(fleet: Fleet) -> None:
    """From now on, so that what moves takes longer than a host needs to come back."""
    fleet.fast()
    fleet.slow(4.0)


def happened(kind: str, host: str | None = None) -> Callable[[list[Event]], bool]:
    return lambda events: count(events, kind, host) > 0


def wait_until_quiet(host: Host, fleet: Fleet) -> None:
    """Until nothing of the run is left on a host that nobody can tell to stop."""
    wait_for(lambda: None if host.processes(f"SHARDFLEET_JOB={fleet.run_id}") else True, f"{host.name} is quiet", 40.0)


def done_by(fleet: Fleet, host: str) -> set[str]:
    """Stems that a host has committed."""
    return {path.stem for path in (fleet.homes[host] / fleet.base / "shards").glob("[0-9]*.json")}


def test_a_host_that_is_cut_off_for_good(lean_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """The others do its units and the run ends without it, saying so: exit 3, the host named; it stops itself."""
    running = begin(lean_fleet)
    cluster["h2"].link(up=False)
    running.wait_for(happened("host_lost", "h2"), timeout=60)
    lean_fleet.fast()
    assert running.wait(90) == 3, running.text
    assert "24 of 24 units committed" in running.text
    assert "not shown to be quiet: h2" in running.text
    # By the lease, without anyone telling it.
    wait_until_quiet(cluster["h2"], lean_fleet)

    known = lean_fleet.call("verify", lean_fleet.run_id, "--ledger", timeout=120)
    assert known.returncode == 0, known.stdout + known.stderr
    cluster["h2"].link(up=True)
    again = lean_fleet.launch("--plain")
    assert again.returncode == 0, again.stdout + again.stderr
    assert undisturbed == lean_fleet.shards()
    verified = lean_fleet.call("verify", lean_fleet.run_id)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_host_that_comes_back(lean_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """A lost host that can be reached again drops what others do by now, and takes part again: exit 0."""
    running = begin(lean_fleet)
    cluster["h2"].link(up=False)
    running.wait_for(happened("host_lost", "h2"), timeout=60)
    slower(lean_fleet)
    running.wait_for(happened("units_moved"))
    cluster["h2"].link(up=True)
    running.wait_for(lambda events: count(events, "host_started", "h2") > 1, timeout=60)
    lean_fleet.fast()
    assert running.wait(90) == 0, running.text
    assert undisturbed == lean_fleet.shards()


def test_a_short_cut_is_nothing(lean_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """A link that is down for less than the host is waited for costs neither the host nor a unit."""
    running = begin(lean_fleet, "--lost-after", "60", "--lease", "120")
    cluster["h2"].link(up=False)
    seen = count(running.events(), "unit_done", "h1")
    running.wait_for(lambda events: count(events, "unit_done", "h1") >= seen + 3)
    cluster["h2"].link(up=True)
    lean_fleet.fast()
    assert running.wait(90) == 0, running.text
    assert undisturbed == lean_fleet.shards()
    assert not {"host_lost", "host_restarted"} & {event["event"] for event in running.events()}


def test_a_power_cut(lean_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """A host that is switched off and on again takes part again; nothing it had committed is lost."""
    running = begin(lean_fleet)
    had = done_by(lean_fleet, "h3")
    cluster.kill("h3")
    running.wait_for(happened("host_lost", "h3"), timeout=60)
    slower(lean_fleet)
    cluster.up()
    running.wait_for(lambda events: count(events, "host_started", "h3") > 1, timeout=60)
    lean_fleet.fast()
    assert running.wait(90) == 0, running.text
    assert undisturbed == lean_fleet.shards()
    assert had <= done_by(lean_fleet, "h3")


@pytest.mark.parametrize("victim", ["ssh h1", "sshd sessions", "supervisor"])
def test_a_host_that_hangs_up_is_started_again(
    victim: str, lean_fleet: Fleet, cluster: Cluster, undisturbed: Shards
) -> None:
    """Whatever of its connection or its supervisor dies, a host that can be reached goes on at once: exit 0."""
    running = begin(lean_fleet)
    struck = (
        strike_launcher(lean_fleet, victim)
        if victim.startswith("ssh ")
        else cluster["h1"].strike(victim, signal.SIGKILL)
    )
    assert struck
    running.wait_for(lambda events: count(events, "host_started", "h1") > 1)
    lean_fleet.fast()
    assert running.wait(90) == 0, running.text
    assert undisturbed == lean_fleet.shards()
    assert count(running.events(), "host_lost") == 0


def test_waiting_for_a_lost_host(lean_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """--on-host-failure wait gives a lost host's units to nobody, and goes on when it is back."""
    running = begin(lean_fleet, "--on-host-failure", "wait", "--no-rebalance")
    cluster["h2"].link(up=False)
    running.wait_for(happened("host_lost", "h2"), timeout=60)
    lean_fleet.fast()
    running.wait_for(
        lambda events: {event["host"] for event in events if event["event"] == "host_idle"} == {"h1", "h3"}
    )
    cluster["h2"].link(up=True)
    assert running.wait(90) == 0, running.text
    assert undisturbed == lean_fleet.shards()
    assert count(running.events(), "units_moved") == 0


def test_stopping_for_a_lost_host(lean_fleet: Fleet, cluster: Cluster) -> None:
    """--on-host-failure abort stops the others when a host is lost, and says why; the lost one is not shown quiet."""
    running = begin(lean_fleet, "--on-host-failure", "abort")
    cluster["h2"].link(up=False)
    assert running.wait(90) == 3, running.text
    assert "--on-host-failure abort" in running.text
    for name in ("h1", "h3"):
        assert cluster[name].processes(f"SHARDFLEET_JOB={lean_fleet.run_id}") == []
    wait_until_quiet(cluster["h2"], lean_fleet)


def test_a_full_disk_on_one_host(lean_fleet: Fleet, cluster: Cluster, undisturbed: Shards) -> None:
    """A host without room says so, and others do what it cannot; what it has committed counts: exit 0."""
    cluster["h2"].mount_disk("small", "64m")
    hosts = lean_fleet.directory / "hosts.txt"
    places = "output_dir=~/small/shards holdout_dir=~/small/holdout"
    hosts.write_text(hosts.read_text().replace("h2 1", f"h2 1 {places}"))
    running = begin(lean_fleet)
    cluster["h2"].fill_disk("small")
    running.wait_for(happened("units_moved"))
    lean_fleet.fast()
    assert running.wait(90) == 0, running.text
    failed = [event for event in running.events() if event["event"] == "host_done" and event["host"] == "h2"]
    assert [event["outcome"] for event in failed] == ["failed"]
    assert "--on-host-failure" not in running.text
    elsewhere = {path.stem for path in (cluster["h2"].home / "small/shards").glob("[0-9]*.json")}
    assert len(elsewhere | done_by(lean_fleet, "h1") | done_by(lean_fleet, "h3")) == len(undisturbed) // 2
