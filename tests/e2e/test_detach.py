"""Detached runs: hosts that work by themselves, and how one comes back to them."""

import json
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import SHARDFLEET, Event, Fleet, Running, Seen, count, running_fleet, seen

SECRET = "hf_detachedsecret"
DETACHED = ("--detach", "--stall-seconds", "3")
"""Requests that the Hub has held are made again soon after it answers again."""

pytestmark = pytest.mark.slow


@pytest.fixture
def three_ranks(tmp_path: Path, hub_directory: Path) -> Iterator[Fleet]:
    """Two hosts reached over ssh, and a user who has a token."""
    with running_fleet(tmp_path, hub_directory, {"alpha": 2, "beta": 1}) as fleet:
        fleet.environment["HF_TOKEN"] = SECRET
        yield fleet


def until(wanted: Callable[[], bool], what: object = "", timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not wanted():
        assert time.monotonic() < deadline, f"not seen in time: {what() if callable(what) else what}"
        time.sleep(0.05)


def detached(fleet: Fleet, *args: str) -> str:
    """Launch so; returns what was printed."""
    done = fleet.launch(*DETACHED, *args)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def begin_attach(fleet: Fleet, *args: str) -> Running:
    return fleet.begin([SHARDFLEET, "attach", fleet.run_id, *args])


def status(fleet: Fleet) -> dict[str, Any]:
    done = fleet.call("status", fleet.run_id, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def units_done(fleet: Fleet) -> int:
    """By the shards themselves."""
    return len({stem for split, stem in fleet.shards() if split == "train"})


def followers(fleet: Fleet) -> list[Seen]:
    """Processes on hosts that serve someone who is attached."""
    found = (seen(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [p for p in found if p is not None and "follow" in p.argv and f"/{fleet.run_id}/" in p.argv[-1]]


def on_the_launcher(fleet: Fleet) -> list[Seen]:
    """Processes of the fleet that are no workers."""
    workers = {process.pid for process in fleet.processes_with_cookie()}
    return [process for process in fleet.processes() if process.pid not in workers]


def printed(running: Running) -> list[Event]:
    """What it has printed as JSON, whole lines."""
    return [json.loads(line) for line in running.text.splitlines(keepends=True) if line.endswith("}\n")]


def job_directory(fleet: Fleet, host: str) -> Path:
    return fleet.homes[host] / f".shardfleet/runs/{fleet.run_id}/{host}"


def ledger(fleet: Fleet) -> set[int]:
    """Units that the launcher knows to be committed."""
    lines = (fleet.directory / "runs" / fleet.run_id / "ledger.jsonl").read_text().splitlines()
    return {json.loads(line)[1][0] for line in lines[1:]}


@pytest.mark.ssh
def test_hosts_work_by_themselves(three_ranks: Fleet) -> None:
    """`launch --detach` ends when every host is at work, and nothing of it stays: not even kill -9 could hurt.

    `status` tells how far hosts are; a second launch, of whichever kind, is refused before anything is sent; who
    attaches sees all that has happened and ends with the run, with its exit code; launching again finds it complete.
    The token is on the hosts as long as they work.
    """
    fleet = three_ranks
    fleet.hold_after(5)
    told = detached(fleet)
    assert [line for line in told.splitlines() if line.startswith(("alpha", "beta"))] == [
        "alpha: at work on 16 units",
        "beta: at work on 8 units",
    ]
    for command in ("attach", "status", "abort"):
        assert f"shardfleet {command} {fleet.directory}/runs/{fleet.run_id}" in told
    assert on_the_launcher(fleet) == []
    assert [len(fleet.supervisors(host)) for host in ("alpha", "beta")] == [1, 1]
    tokens = [job_directory(fleet, host) / "token" for host in ("alpha", "beta")]
    assert [(path.read_text(), stat.S_IMODE(path.stat().st_mode)) for path in tokens] == [(SECRET, 0o600)] * 2
    assert not (fleet.directory / "runs" / fleet.run_id / "token").exists()

    until(lambda: units_done(fleet) >= 4)
    known = status(fleet)
    hosts = known["hosts"]
    assert {name: host["state"] for name, host in hosts.items()} == {"alpha": "running", "beta": "running"}
    assert {name: host["units"] for name, host in hosts.items()} == {"alpha": 16, "beta": 8}
    assert 4 <= known["units_committed"] == sum(host["units_done"] for host in hosts.values()) < 24
    assert sum(host["tokens"] for host in hosts.values()) == known["tokens"] + known["holdout_tokens"] > 0
    assert all(host["last_heard_seconds"] < 10 and host["errors"] == 0 for host in hosts.values())
    assert known["left"].keys() == {"alpha", "beta"}
    assert len(ledger(fleet)) == known["units_committed"]

    plan = fleet.directory / "runs" / fleet.run_id / "plan.json"
    sent = [plan, *(job_directory(fleet, host) / "job.json" for host in ("alpha", "beta"))]
    before = [path.stat().st_ino for path in sent]
    for again in (fleet.launch(*DETACHED), fleet.launch(), fleet.run("./run_all_hosts.sh")):
        assert again.returncode == 2, again.stdout + again.stderr
        assert "is still at work on alpha, beta; see it with 'shardfleet attach" in again.stderr
        assert "shardfleet abort" in again.stderr
    assert [path.stat().st_ino for path in sent] == before

    killed = begin_attach(fleet)
    until(lambda: len(followers(fleet)) == 2)
    for process in on_the_launcher(fleet):
        os.kill(process.pid, signal.SIGKILL)
    killed.process.wait()
    until(lambda: followers(fleet) == [], lambda: followers(fleet))
    assert len(fleet.supervisors()) == 2

    attached = begin_attach(fleet, "--json")
    until(lambda: count(printed(attached), "unit_done") >= 4, lambda: attached.text)
    fleet.fast()
    assert attached.wait() == 0, attached.text
    events = printed(attached)
    assert (events[-1]["event"], events[-1]["exit_code"], events[-1]["units_committed"]) == ("run_done", 0, 24)
    assert count(events, "host_started") == count(events, "host_done") == 2
    assert len({event["unit"] for event in events if event["event"] == "unit_done"}) == 24
    fleet.wait_until_quiet()
    assert [path.exists() for path in tokens] == [False, False]
    assert ledger(fleet) == set(range(24))
    assert fleet.verify_committed() == 24
    assert fleet.call("verify", fleet.run_id).returncode == 0

    late = begin_attach(fleet)
    assert late.wait() == 0, late.text
    assert "24 of 24 units committed" in late.text
    done = fleet.launch()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.ssh
def test_who_is_attached_only_looks(pair_fleet: Fleet) -> None:
    """Several may be attached. Ctrl+C in one lets it go, with exit code 0, and with its followers on the hosts.

    `abort` from another terminal ends the run on every host, and whoever is attached then with 130; launched again, it
    goes on from there.
    """
    fleet = pair_fleet
    fleet.hold_after(6)
    detached(fleet)
    staying = begin_attach(fleet, "--plain")
    leaving = fleet.begin([SHARDFLEET, "attach", fleet.run_id], terminal=True)
    until(lambda: len(followers(fleet)) == 4)
    until(lambda: "Ctrl+C detaches" in leaving.text, lambda: leaving.text)
    leaving.type(b"\x03")
    assert leaving.wait(timeout=20) == 0
    # What a terminal shows is copied a moment later.
    until(lambda: "detached: the run goes on; 'shardfleet attach" in leaving.text, lambda: leaving.text)
    until(lambda: len(followers(fleet)) == 2, lambda: followers(fleet), timeout=20)
    assert len(fleet.supervisors()) == 2
    assert staying.process.poll() is None

    aborted = fleet.call("abort", fleet.run_id)
    assert aborted.returncode == 0, aborted.stderr
    assert "no process is left on 2 hosts" in aborted.stdout
    assert staying.wait() == 130, staying.text
    assert "beta: stopping: SIGTERM" in staying.text
    fleet.wait_until_quiet(timeout=5.0)
    assert followers(fleet) == []
    known = status(fleet)
    assert {host["state"] for host in known["hosts"].values()} == {"stopped"}
    assert known["left"] == {}
    committed = fleet.verify_committed()
    assert committed == known["units_committed"] < 24

    fleet.fast()
    detached(fleet)
    attached = begin_attach(fleet, "--json")
    assert attached.wait() == 0, attached.text
    assert sum(len(event["units"]) for event in printed(attached) if event["event"] == "units_kept") == committed
    assert fleet.verify_committed() == 24


@pytest.mark.ssh
def test_attach_to_a_run_with_a_launcher(pair_fleet: Fleet) -> None:
    """A second terminal sees the same run, comes and goes without a trace in it, and ends with it, with its code."""
    fleet = pair_fleet
    fleet.hold_after(6)
    running = fleet.start("--json", "--stall-seconds", "3")
    running.wait_for(lambda events: count(events, "unit_done") >= 4)
    leaving = begin_attach(fleet, "--json")
    until(lambda: count(printed(leaving), "unit_done") >= 4, lambda: leaving.text)
    until(lambda: count(printed(leaving), "progress") >= 2, lambda: leaving.text)
    leaving.interrupt()
    assert leaving.wait(timeout=20) == 0
    until(lambda: followers(fleet) == [], lambda: followers(fleet), timeout=20)
    known = status(fleet)
    assert {host["state"] for host in known["hosts"].values()} == {"running"}
    assert known["units_committed"] >= 4

    staying = begin_attach(fleet, "--json")
    until(lambda: len(followers(fleet)) == 2)
    fleet.fast()
    assert running.wait() == 0, running.text
    assert staying.wait() == 0, staying.text
    last = printed(staying)[-1]
    assert (last["event"], last["exit_code"], last["units_committed"]) == ("run_done", 0, 24)
    assert len({event["unit"] for event in printed(staying) if event["event"] == "unit_done"}) == 24
    events = running.events()
    assert [count(events, kind) for kind in ("run_started", "host_started", "unit_done")] == [1, 2, 24]
    assert ledger(fleet) == set(range(24))
    assert fleet.verify_committed() == 24


@pytest.mark.ssh
@pytest.mark.parametrize("end", ["killed", "interrupted", "cut off"])
def test_a_start_that_is_cut_short(pair_fleet: Fleet, end: str) -> None:
    """When a host cannot be started, or the launcher ends before it is, the others go on, unless Ctrl+C was pressed.

    Who launches again is told of them; after an abort, it goes on. Nothing is left on the host that was not started,
    not even the token.
    """
    fleet = pair_fleet
    assert fleet.loopback is not None
    fleet.environment["HF_TOKEN"] = SECRET
    fleet.hold_after(6)
    written = fleet.run(*fleet.argv("script", *DETACHED))
    assert written.returncode == 0, written.stderr
    script = fleet.begin(["./run_all_hosts.sh"])
    beta = fleet.loopback.hosts["beta"]
    until((job_directory(fleet, "beta") / "job.json").exists)
    until((job_directory(fleet, "alpha") / "job.json").exists)
    # It has its job; from now on it takes no connection.
    if end == "cut off":
        fleet.loopback.stop("beta")
        assert script.wait() == 1, script.text
        assert "alpha: at work on 12 units" in script.text
        assert "beta: NOT started: " in script.text
        assert "or after an abort, launch again" in script.text
        assert len(fleet.supervisors("alpha")) == 1
        known = status(fleet)
        assert known["hosts"]["alpha"]["state"] == "running"
        assert known["hosts"]["beta"]["state"] == "waiting"
        assert "beta: cannot connect to" in known["hosts"]["beta"]["reason"]
        assert fleet.call("abort", fleet.run_id).returncode == 3
        assert fleet.supervisors() == []
        return
    beta.process.send_signal(signal.SIGSTOP)
    until(lambda: len(fleet.supervisors("alpha")) == 1, lambda: script.text)
    if end == "interrupted":
        script.interrupt()
        # Once it is asked to stop, beta is within reach again.
        until(lambda: any(p.argv[2:4] == ("provision.control", "stop") for p in fleet.processes()))
        beta.process.send_signal(signal.SIGCONT)
        assert script.wait() == 130, script.text
    else:
        script.send(signal.SIGKILL)
        until(lambda: fleet.named("ssh") == [])
        beta.process.send_signal(signal.SIGCONT)
        until(lambda: on_the_launcher(fleet) == [], lambda: on_the_launcher(fleet))
        assert [len(fleet.supervisors(host)) for host in ("alpha", "beta")] == [1, 0]
        again = fleet.run("./run_all_hosts.sh")
        assert again.returncode == 2
        assert "is still at work on alpha; see it with 'shardfleet attach" in again.stderr
        assert fleet.call("abort", fleet.run_id).returncode == 0
    fleet.wait_until_quiet()
    assert not (job_directory(fleet, "beta") / "token").exists()
    if end == "killed":
        fleet.fast()
        detached(fleet)
        attached = begin_attach(fleet)
        assert attached.wait() == 0, attached.text
        assert fleet.verify_committed() == 24


def test_a_host_that_refuses(local_fleet: Fleet) -> None:
    """Where the output directory holds another run's shards, the supervisor refuses: exit 1, the host and why."""
    fleet = local_fleet
    written = fleet.run(*fleet.argv("script", *DETACHED))
    assert written.returncode == 0, written.stderr
    shards = fleet.homes["localhost"] / fleet.base / "shards"
    other = fleet.launch("--holdout-rate", "3%", "--run-dir", str(fleet.directory / "other"))
    assert other.returncode == 0, other.stderr
    assert (shards / "dataset.json").exists()
    refused = fleet.run("runs/" + fleet.run_id + "/run_all_hosts.sh")
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "localhost: NOT started: " in refused.stdout
    assert "holdout_rate: 0.02, not 0.03" in refused.stdout
    assert "nothing was started" in refused.stdout
    assert fleet.processes() == []
    assert status(fleet)["hosts"]["localhost"]["state"] == "failed"


@pytest.mark.parametrize("kind", ["local_fleet", "bare_fleet"])
def test_this_machine_alone(kind: str, request: pytest.FixtureRequest) -> None:
    """A detached run of this machine needs no pdsh; only who attaches does, and is told so."""
    fleet: Fleet = request.getfixturevalue(kind)
    fleet.hold_after(4)
    detached(fleet)
    assert on_the_launcher(fleet) == []
    assert len(fleet.supervisors()) == 1
    attached = begin_attach(fleet)
    if kind == "bare_fleet":
        assert attached.wait() == 2
        assert "apt install pdsh" in attached.text
    else:
        until(lambda: len(followers(fleet)) == 1)
        attached.interrupt()
        assert attached.wait(timeout=20) == 0
        until(lambda: followers(fleet) == [], timeout=20)
    fleet.fast()
    until(lambda: status(fleet)["hosts"]["localhost"]["state"] == "complete")
    assert ledger(fleet) == set(range(24))
    assert fleet.verify_committed() == 24
