"""However a run is ended, nothing of it is left, what is committed is whole, and the exit code says so."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fleet import SHARDFLEET, Fleet, Running, Seen, count

SECONDS_TO_EXIT = 10.0

pytestmark = pytest.mark.slow

both_kinds_of_hosts = pytest.mark.parametrize(
    "kind", [pytest.param("pair_fleet", marks=pytest.mark.ssh), "local_fleet", "bare_fleet"]
)


@pytest.fixture
def fleet(kind: str, request: pytest.FixtureRequest) -> Fleet:
    """The fleet that a test's parameter names."""
    found: Fleet = request.getfixturevalue(kind)
    return found


def at_work(running: Running, units: int = 4) -> None:
    """Wait until some units are committed and every host has begun."""
    running.wait_for(lambda events: count(events, "unit_done") >= units)


def stoppers(fleet: Fleet) -> list[Seen]:
    """The launcher's own processes that stop the hosts."""
    return [process for process in fleet.processes() if process.argv[2:4] == ("provision.control", "stop")]


def ended(
    running: Running, fleet: Fleet, report: Callable[[str, object], None], *, within: float, but: tuple[Path, ...] = ()
) -> int:
    """The exit code; fails unless it comes in time, with nothing left behind and all that is committed whole.

    Under the homes in `but` there may be temporary files.
    """
    started = time.monotonic()
    code = running.wait(timeout=within)
    report("seconds to exit", round(time.monotonic() - started, 2))
    # The kernel ends what was tied to the launcher; that takes no time, but it comes after.
    report("seconds to quiet", round(fleet.wait_until_quiet(timeout=5.0), 3))
    assert [path for path in fleet.unfinished() if not any(path.is_relative_to(home) for home in but)] == []
    report("units", fleet.verify_committed())
    return code


@pytest.mark.parametrize(
    ("kind", "started_as", "by"),
    [
        pytest.param("ssh_fleet", "launch", "signal", marks=pytest.mark.ssh),
        pytest.param("ssh_fleet", "script", "terminal", marks=pytest.mark.ssh),
        ("local_fleet", "launch", "terminal"),
        ("local_fleet", "script", "signal"),
        ("bare_fleet", "launch", "signal"),
        ("bare_fleet", "script", "terminal"),
    ],
)
def test_ctrl_c(
    fleet: Fleet, kind: str, started_as: str, by: str, record_property: Callable[[str, object], None]
) -> None:
    """Ctrl+C in the middle of work: exit 130 within ten seconds, no process left, committed shards whole.

    On every kind of host, for `launch` and for the script alone, as a signal to the process group and typed at a real
    terminal. The same command goes on from there.
    """
    fleet.hold_after(5)
    running = (fleet.start if started_as == "launch" else fleet.start_script)(terminal=by == "terminal")
    at_work(running)
    if by == "terminal":
        running.type(b"\x03")
    else:
        running.interrupt()
    assert ended(running, fleet, record_property, within=SECONDS_TO_EXIT) == 130
    assert "stopped; no process of the run is left on any host" in running.text
    assert "Traceback" not in running.text
    assert 4 <= fleet.verify_committed() < 24
    if kind == "ssh_fleet" and by == "signal":
        fleet.fast()
        again = fleet.run(f"{fleet.directory}/run_all_hosts.sh", timeout=60)
        assert again.returncode == 0, again.stdout + again.stderr
        assert fleet.verify_committed() == 24


@pytest.mark.ssh
def test_second_ctrl_c_kills_at_once(pair_fleet: Fleet, record_property: Callable[[str, object], None]) -> None:
    """A rank that ignores SIGTERM is given its grace on the first Ctrl+C, and none after a second."""
    fleet = pair_fleet
    fleet.hold_after(5)
    running = fleet.start("--grace", "120")
    at_work(running)
    os.kill(fleet.ranks()[0].pid, signal.SIGSTOP)
    running.interrupt()
    running.wait_for(lambda events: count(events, "host_stopping") == 2)
    running.interrupt()
    assert ended(running, fleet, record_property, within=SECONDS_TO_EXIT) == 130


@pytest.mark.ssh
def test_a_rank_that_ignores_sigterm_is_killed(
    pair_fleet: Fleet, record_property: Callable[[str, object], None]
) -> None:
    """With the default grace, one Ctrl+C ends such a rank, too, within ten seconds."""
    fleet = pair_fleet
    fleet.hold_after(5)
    running = fleet.start()
    at_work(running)
    os.kill(fleet.ranks()[0].pid, signal.SIGSTOP)
    running.interrupt()
    assert ended(running, fleet, record_property, within=SECONDS_TO_EXIT) == 130


@pytest.mark.parametrize(
    ("kind", "number", "to_all"),
    [
        ("local_fleet", signal.SIGTERM, False),
        ("local_fleet", signal.SIGTERM, True),
        pytest.param("pair_fleet", signal.SIGHUP, True, marks=pytest.mark.ssh),
    ],
)
def test_other_signals_stop_as_ctrl_c_does(
    fleet: Fleet, number: signal.Signals, to_all: bool, record_property: Callable[[str, object], None]
) -> None:
    """SIGTERM and SIGHUP, to the launcher alone or to all its group, stop every host: exit 130."""
    fleet.hold_after(5)
    running = fleet.start()
    at_work(running)
    if to_all:
        running.interrupt(number)
    else:
        running.send(number)
    assert ended(running, fleet, record_property, within=SECONDS_TO_EXIT) == 130


def test_a_closed_terminal_stops_the_run(local_fleet: Fleet, record_property: Callable[[str, object], None]) -> None:
    """When the window is closed, the run is stopped and settled, though nobody can be told."""
    fleet = local_fleet
    fleet.hold_after(5)
    running = fleet.start(terminal=True)
    at_work(running)
    assert running.terminal is not None
    running.terminal.hang_up()
    assert ended(running, fleet, record_property, within=SECONDS_TO_EXIT) == 130


def test_a_reader_that_leaves_does_not_end_the_run(local_fleet: Fleet) -> None:
    """`launch --plain | head -1` completes, with its exit code."""
    fleet = local_fleet
    command = ["bash", "-c", 'set -o pipefail; "$@" | head -1', "bash", *fleet.argv("launch", "--plain")]
    done = fleet.run(*command)
    assert done.returncode == 0, done.stderr
    assert fleet.verify_committed() == 24


def test_ctrl_c_while_hosts_are_asked(tmp_path: Path, local_fleet: Fleet) -> None:
    """Ctrl+C during planning ends at once, even while a host gives no answer."""
    fleet = local_fleet
    config = tmp_path / "silent_config"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, says nothing
        (fleet.directory / "hosts.txt").write_text("silent 1\n")
        config.write_text(
            f"Host silent\n  HostName 127.0.0.1\n  Port {silent.getsockname()[1]}\n  UserKnownHostsFile {config}\n"
        )
        config.with_name("known").write_text("")
        running = fleet.start("--ssh-config", str(config))
        silent.settimeout(30)
        connection, _ = silent.accept()
        running.interrupt()
        assert running.wait(timeout=8.0) == 130
        connection.close()
    assert running.text.splitlines()[-1] == "stopped"
    assert fleet.processes() == []


@pytest.mark.ssh
def test_ctrl_c_while_jobs_are_sent(pair_fleet: Fleet, record_property: Callable[[str, object], None]) -> None:
    """Ctrl+C before the hosts have begun starts none of them, and is shown not to have."""
    fleet = pair_fleet
    assert fleet.loopback is not None
    written = fleet.run(*fleet.argv("script"))
    assert written.returncode == 0, written.stderr
    beta = fleet.loopback.hosts["beta"].process
    beta.send_signal(signal.SIGSTOP)  # its connections are taken by the kernel, and not answered
    running = fleet.begin(["./run_all_hosts.sh"])
    job = fleet.homes["alpha"] / f".shardfleet/runs/{fleet.run_id}/alpha/job.json"
    _until(job.exists)
    running.interrupt()
    _until(lambda: len(stoppers(fleet)) == 1)
    beta.send_signal(signal.SIGCONT)
    assert ended(running, fleet, record_property, within=SECONDS_TO_EXIT) == 130
    assert running.events() == []
    assert list(fleet.directories()) == []


@both_kinds_of_hosts
def test_killed_launcher_leaves_nothing(fleet: Fleet, record_property: Callable[[str, object], None]) -> None:
    """SIGKILL of the launcher ends every process of the run within seconds; the next start goes on."""
    fleet.hold_after(5)
    running = fleet.start()
    at_work(running)
    running.send(signal.SIGKILL)
    record_property("seconds to quiet", round(fleet.wait_until_quiet(), 2))
    assert fleet.unfinished() == []
    assert 4 <= fleet.verify_committed() < 24
    status = json.loads(fleet.call("status", fleet.run_id, "--json").stdout)
    assert {host["phase"] for host in status["hosts"].values()} <= {"stopped", "lost"}
    assert status["left"] == {}


@pytest.mark.ssh
def test_killed_pdsh_ends_the_run(pair_fleet: Fleet, record_property: Callable[[str, object], None]) -> None:
    """SIGKILL of pdsh ends the workers and then the launcher: exit 1, the hosts named."""
    fleet = pair_fleet
    fleet.hold_after(5)
    running = fleet.start()
    at_work(running)
    (pdsh,) = fleet.named("pdsh")
    os.kill(pdsh.pid, signal.SIGKILL)
    assert ended(running, fleet, record_property, within=SECONDS_TO_EXIT) == 1
    assert "alpha: lost (ended without a last word" in running.text
    assert "beta: lost (ended without a last word" in running.text


@pytest.mark.ssh
@pytest.mark.parametrize("victim", ["ssh", "supervisor"])
def test_a_host_that_hangs_up_is_started_again(
    pair_fleet: Fleet, victim: str, record_property: Callable[[str, object], None]
) -> None:
    """SIGKILL of one host's ssh client or supervisor costs a new start of that host, and nothing else: exit 0."""
    fleet = pair_fleet
    fleet.slow(0.15)
    running = fleet.start()
    at_work(running)
    if victim == "ssh":
        target = next(process for process in fleet.named("ssh") if "alpha" in process.argv)
    else:
        (target,) = fleet.supervisors("alpha")
    os.kill(target.pid, signal.SIGKILL)
    assert ended(running, fleet, record_property, within=60) == 0
    assert "alpha: started again" in running.text
    assert [count(running.events(), "host_started", host) for host in ("alpha", "beta")] == [2, 1]
    assert fleet.verify_committed() == 24


@pytest.mark.ssh
def test_a_host_that_was_started_again_ends_with_the_launcher(pair_fleet: Fleet) -> None:
    """SIGKILL of the launcher ends every process, those too that the watcher has started in the meantime."""
    fleet = pair_fleet
    fleet.hold_after(5)
    running = fleet.start()
    at_work(running)
    os.kill(next(process.pid for process in fleet.named("ssh") if "alpha" in process.argv), signal.SIGKILL)
    running.wait_for(lambda events: count(events, "host_started", "alpha") == 2)
    running.send(signal.SIGKILL)
    fleet.wait_until_quiet()
    assert fleet.unfinished() == []


def test_killed_rank_is_replaced(local_fleet: Fleet, record_property: Callable[[str, object], None]) -> None:
    """SIGKILL of a rank costs an attempt at its unit; another takes its place, and the run completes."""
    fleet = local_fleet
    fleet.slow(0.1)
    running = fleet.start()
    at_work(running)
    os.kill(fleet.ranks()[0].pid, signal.SIGKILL)
    assert ended(running, fleet, record_property, within=30) == 0
    (exited,) = (event for event in running.events() if event["event"] == "rank_exited")
    assert exited["how"] == "killed by SIGKILL"
    assert exited["restarted"] is True
    assert fleet.verify_committed() == 24


@pytest.mark.ssh
def test_a_host_that_cannot_be_asked_is_named(
    pair_fleet: Fleet, record_property: Callable[[str, object], None]
) -> None:
    """When a host cannot be shown to be quiet, the exit code is 3 and its name is printed; the others are stopped."""
    fleet = pair_fleet
    assert fleet.loopback is not None
    fleet.hold_after(5)
    running = fleet.start()
    at_work(running)
    fleet.loopback.stop("beta")
    running.interrupt()
    assert ended(running, fleet, record_property, within=SECONDS_TO_EXIT, but=(fleet.homes["beta"],)) == 3
    assert "NOT shown to be quiet: beta." in running.text


@pytest.mark.ssh
def test_third_ctrl_c_leaves_at_once(pair_fleet: Fleet) -> None:
    """A third Ctrl+C does not wait for a host that gives no answer: exit 3, hosts named; they stop by themselves."""
    fleet = pair_fleet
    assert fleet.loopback is not None
    fleet.hold_after(5)
    running = fleet.start()
    at_work(running)
    # Its daemon takes no new connection; the one under way goes on.
    fleet.loopback.hosts["beta"].process.send_signal(signal.SIGSTOP)
    for times in (1, 2):
        running.interrupt()
        _until(lambda times=times: len(stoppers(fleet)) == times)
    running.interrupt()
    assert running.wait(timeout=8.0) == 3
    assert "not shown to be stopped: alpha beta" in running.text
    _until(lambda: not fleet.processes_with_cookie())
    fleet.loopback.hosts["beta"].process.send_signal(signal.SIGCONT)
    fleet.wait_until_quiet()


@pytest.mark.ssh
def test_abort_from_another_process(pair_fleet: Fleet, record_property: Callable[[str, object], None]) -> None:
    """`abort RUN` exits 0 when nothing is left, and the run's launcher with 130.

    Until then `status` shows it at work, and neither a second launcher of the run nor another run may use its
    directories.
    """
    fleet = pair_fleet
    fleet.hold_after(5)
    running = fleet.start()
    at_work(running)
    status = json.loads(fleet.call("status", fleet.run_id, "--json").stdout)
    assert {host["phase"] for host in status["hosts"].values()} == {"running"}
    assert all(len(status["left"][host]) == 2 for host in ("alpha", "beta"))
    assert status["units_committed"] >= 4

    second = fleet.launch()
    assert second.returncode == 2
    assert "is already under way" in second.stderr

    run_id = fleet.run_id
    other = fleet.launch("--holdout-dir", f"~/{fleet.base}/elsewhere", "--run-dir", str(fleet.directory / "other"))
    assert other.returncode == 2
    assert f"shardfleet abort {run_id}" in other.stderr
    assert count(running.events(), "unit_failed") == 0

    aborted = fleet.call("abort", run_id)
    assert aborted.returncode == 0, aborted.stderr
    assert "no process is left on 2 hosts" in aborted.stdout
    assert ended(running, fleet, record_property, within=2.0) == 130

    status = json.loads(fleet.call("status", run_id, "--json").stdout)
    assert {host["phase"] for host in status["hosts"].values()} == {"stopped"}
    assert status["left"] == {}

    fleet.fast()
    again = fleet.launch()
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.ssh
def test_abort_before_the_hosts_have_begun(pair_fleet: Fleet, record_property: Callable[[str, object], None]) -> None:
    """`abort` while jobs are still being sent keeps the run from beginning, or stops it when it does."""
    fleet = pair_fleet
    assert fleet.loopback is not None
    written = fleet.run(*fleet.argv("script"))
    assert written.returncode == 0, written.stderr
    fleet.hold_after(2)
    beta = fleet.loopback.hosts["beta"].process
    beta.send_signal(signal.SIGSTOP)
    running = fleet.begin(["./run_all_hosts.sh"])
    job = fleet.homes["alpha"] / f".shardfleet/runs/{fleet.run_id}/alpha/job.json"
    _until(job.exists)
    aborting = fleet.begin([SHARDFLEET, "abort", fleet.run_id])
    _until((fleet.directory / "runs" / fleet.run_id / "aborted").exists)
    beta.send_signal(signal.SIGCONT)
    assert aborting.wait() == 0, aborting.text
    assert ended(running, fleet, record_property, within=SECONDS_TO_EXIT) == 130


@pytest.mark.ssh
def test_lease(pair_fleet: Fleet, record_property: Callable[[str, object], None]) -> None:
    """Hosts are reassured as long as the launcher lives, and stop when it falls silent with its connections open."""
    fleet = pair_fleet
    fleet.hold_after(5)
    running = fleet.start("--lease", "4")
    at_work(running)
    leases = [fleet.homes[host] / f".shardfleet/runs/{fleet.run_id}/{host}/lease" for host in ("alpha", "beta")]
    begun = min(lease.stat().st_mtime for lease in leases)
    _until(lambda: min(lease.stat().st_mtime for lease in leases) > begun + 4.5)  # without renewals it would be over
    assert count(running.events(), "host_stopping") == 0
    for process in fleet.processes():
        if process.pid == running.pid or "lease" in process.argv:
            os.kill(process.pid, signal.SIGSTOP)
    started = time.monotonic()
    running.wait_for(lambda events: count(events, "host_done") == 2)
    record_property("seconds to stop", round(time.monotonic() - started, 2))
    assert {event["reason"] for event in running.events() if event["event"] == "host_done"} == {
        "not heard from the launcher for 4 s"
    }
    running.send(signal.SIGCONT)
    assert ended(running, fleet, record_property, within=SECONDS_TO_EXIT) == 1


@pytest.mark.ssh
def test_hosts_may_go_on_without_a_launcher(pair_fleet: Fleet) -> None:
    """With `--on-disconnect continue` hosts finish without their launcher."""
    fleet = pair_fleet
    fleet.hold_after(4)
    running = fleet.start("--on-disconnect", "continue", "--stall-seconds", "3")
    at_work(running, units=2)
    running.send(signal.SIGKILL)
    _until(lambda: not fleet.named("pdsh"))
    status = json.loads(fleet.call("status", fleet.run_id, "--json").stdout)
    assert {host: len(processes) for host, processes in status["left"].items()} == {"alpha": 2, "beta": 2}
    fleet.fast()
    _until(lambda: not fleet.processes())
    assert fleet.verify_committed() == 24
    assert fleet.unfinished() == []


def test_a_waiting_start_does_not_stop_the_one_it_waits_for(local_fleet: Fleet) -> None:
    """Ctrl+C on a script that waits for an earlier start ends that script alone: exit 130."""
    fleet = local_fleet
    fleet.hold_after(2)
    first = fleet.start()
    at_work(first, units=1)
    second = fleet.begin(["./run_all_hosts.sh"])
    _until(lambda: "waiting for an earlier start" in second.text)
    second.interrupt()
    assert second.wait(timeout=20) == 130
    assert len(fleet.supervisors()) == 1
    assert count(first.events(), "host_stopping") == 0
    first.interrupt()
    assert first.wait() == 130


def _until(wanted: Callable[[], bool], timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not wanted():
        assert time.monotonic() < deadline, "not seen in time"
        time.sleep(0.02)
