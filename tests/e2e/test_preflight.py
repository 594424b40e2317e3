"""Before the start: hosts with which something is wrong are found, all at once, and can be done without.

Each host here is an OpenSSH server on loopback, and each fails one check for real; only its clock and another version
are make-believe, by an interpreter that answers so.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import disks
from tests.support.fleet import Fleet, count, running_fleet

pytestmark = pytest.mark.ssh

OTHER_RUN = f"other-run-{os.getpid()}"
ORPHANED_RUN = f"orphaned-run-{os.getpid()}"

FAILURES = {
    "missing": "no {python} there; install shardfleet with 'shardfleet provision'",
    "old": "has shardfleet 0.0.1, this is ",
    "files": "a process may open 60 files",
    "offline": "{endpoint} from there: ",
    "late": "behind this machine's, which breaks TLS",
    "unknown": "no known key for the server",
    "closed": "accepts none of the keys",
    "down": "Connection refused; is it up, and its sshd on that port?",
    "garbled": "dataset.json: not a DirectoryRecord record",
    "taken": f"run {OTHER_RUN} is writing in ",
    "chatty": "let its shell start-up files print nothing",
}
"""Host, named by what is wrong with it → what is said of it."""

INTERPRETER = """#!/bin/sh
case "$HOME" in
  */missing/home) exit 127 ;;
  */old/home) [ "$3" != survey ] || exec echo '{"version": "0.0.1"}' ;;
  */files/home) ulimit -n 60 ;;
  */offline/home) export http_proxy=http://127.0.0.1:1 ;;
  */chatty/home) echo welcome ;;
  */late/home) [ "$3" != survey ] || { PYTHON "$@" | sed 's/"clock":[0-9]*/"clock":1000000000/'; exit; } ;;
esac
exec PYTHON "$@"
"""


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory, hub_directory: Path) -> Iterator[Fleet]:
    """A host with which all is well, and one for each failure."""
    directory = tmp_path_factory.mktemp("sick")
    python = directory / "python"
    python.write_text(INTERPRETER.replace("PYTHON", sys.executable))
    python.chmod(0o755)
    hosts = {"well": 2, **dict.fromkeys(FAILURES, 1)}
    with running_fleet(directory / "fleet", hub_directory, hosts, "--remote-python", str(python)) as fleet:
        assert fleet.loopback is not None
        fleet.loopback.stop("down")
        (fleet.loopback.hosts["unknown"].directory / "known_hosts").write_text("")
        (fleet.loopback.hosts["closed"].directory / "authorized_keys").write_text("")
        for name in ("garbled", "taken"):
            (fleet.homes[name] / fleet.base / "shards").mkdir(parents=True)
        (fleet.homes["garbled"] / fleet.base / "shards" / "dataset.json").write_text("{}")
        # Read by the shell that sshd starts, where that is bash. What goes to standard error does no harm.
        (fleet.homes["well"] / ".bashrc").write_text("echo welcome >&2\n")
        lock = fleet.homes["taken"] / fleet.base / "shards" / ".shardfleet.lock"
        with lock.open("w") as file, running_as(OTHER_RUN, file.fileno()), running_as(ORPHANED_RUN):
            yield fleet


def running_as(run_id: str, *files: int) -> "subprocess.Popen[bytes]":
    """A process with the cookie of a run, which ends when its standard input is closed, as the block's end does."""
    environment = {**os.environ, "SHARDFLEET_JOB": run_id, "SHARDFLEET_HOST": "taken"}
    return subprocess.Popen(["cat"], stdin=subprocess.PIPE, env=environment, pass_fds=files)


def row(text: str, host: str) -> list[str]:
    """The cells of a host in the table of checks."""
    (line,) = re.findall(rf"^{host} .*$", text, flags=re.MULTILINE)
    return line.split()


def test_all_that_is_wrong_is_found_at_once(sick: Fleet) -> None:
    """One launch names every failure of every host, with its remedy, notes older runs, and starts nothing."""
    done = sick.launch("--json")
    assert (done.returncode, done.stdout) == (2, "")
    refusal = done.stderr.partition("not started:")[2]
    for host in FAILURES:
        python = sick.options[-1]
        expected = FAILURES[host].format(python=python, endpoint=sick.hub.endpoint)
        (line,) = [line for line in refusal.splitlines() if line.startswith(f"  {host}: ")]
        assert expected in line
        assert "✗" in row(done.stderr, host)
    assert f"'shardfleet abort {OTHER_RUN}'" in refusal
    # They share this machine's processes, so each of those that can tell has the other run's on it.
    (note,) = [line for line in done.stderr.splitlines() if line.startswith("well, ") and "left-over" in line]
    assert f"1 of run {ORPHANED_RUN}" in note
    assert "well:" not in refusal
    assert "✗" not in row(done.stderr, "well")
    assert not (sick.homes["well"] / sick.base).exists()
    assert sick.processes() == []


def test_plan_shows_the_checks_and_does_not_fail(sick: Fleet) -> None:
    """`plan` shows the same table and the same failures; as JSON, every check with its level."""
    some = ("--hosts", hosts_file(sick, "well", "old", "down"))
    shown = sick.run(*sick.argv("plan", *some))
    assert shown.returncode == 0, shown.stderr
    found = sick.run(*sick.argv("plan", "--json", *some))
    assert found.returncode == 0, found.stderr
    checks = json.loads(found.stdout)["checks"]
    assert [check["level"] for check in checks["well"]].count("failed") == 0
    for host in ("old", "down"):
        assert "✗" in row(shown.stdout, host)
        (failed,) = [check for check in checks[host] if check["level"] == "failed"]
        assert f"{host}: {failed['text']}" in shown.stderr


def test_hosts_that_are_well_do_it_all(sick: Fleet) -> None:
    """With --skip-unready the run is done by those with which nothing is wrong; the others are named and untouched."""
    done = sick.launch("--skip-unready")
    assert done.returncode == 0, done.stdout + done.stderr
    for host in FAILURES:
        assert f"going on without {host}, whose 0 finished units count: " in done.stderr
    records = list((sick.homes["well"] / sick.base / "shards").glob("[0-9]*.json"))
    assert len(records) == 24
    assert not (sick.homes["files"] / sick.base).exists()


def hosts_file(fleet: Fleet, *names: str) -> str:
    path = fleet.directory / f"{'-'.join(names)}.txt"
    path.write_text("".join(f"{name} 1\n" for name in names))
    return str(path)


def done_events(fleet: Fleet, *args: str) -> tuple[dict[str, int], str]:
    """Units that each host has done in a launch that must complete, and what it said on standard error."""
    done = fleet.launch("--json", *args)
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["units_committed"] == 24
    return {name: count(events, "unit_done", name) for name in fleet.homes}, done.stderr


def test_host_that_is_away_and_comes_back(pair_fleet: Fleet) -> None:
    """What a host has done counts while it is away, and is done again once it is called lost; when it is back, there is
    nothing to do, its copies are removed, and every row is there once."""
    fleet = pair_fleet
    away = fleet.directory / "beta is away"
    assert fleet.loopback is not None
    port = fleet.loopback.hosts["beta"].port
    away.write_text(fleet.loopback.config.read_text().replace(f"Port {port}\n", "Port 1\n"))

    first, _ = done_events(fleet, "--no-rebalance")
    assert sum(first.values()) == 24
    assert min(first.values()) > 0

    without, said = done_events(fleet, "--ssh-config", str(away), "--skip-unready")
    assert without == {"alpha": 0, "beta": 0}
    assert f"going on without beta, whose {first['beta']} finished units count: " in said

    lost, _ = done_events(fleet, "--ssh-config", str(away), "--lost", "beta")
    assert lost == {"alpha": first["beta"], "beta": 0}

    back, said = done_events(fleet)
    assert back == {"alpha": 0, "beta": 0}
    assert f"beta: {first['beta']} of its units have been done by other hosts as well" in said
    assert len([key for key in fleet.shards() if key[0] == "train"]) == 24
    verified = fleet.call("verify", fleet.run_id)
    assert verified.returncode == 0, verified.stdout
    assert "verified: complete" in verified.stdout


@pytest.mark.root
def test_disk_that_is_too_small(pair_fleet: Fleet, tmp_path: Path) -> None:
    """A host whose disk cannot hold its share is refused with need and room; the other can do without it."""
    with disks.small_disk(tmp_path / "disk", "64k") as disk:
        hosts = pair_fleet.directory / "small.txt"
        hosts.write_text(f"alpha 1 output_dir={disk}/train\nbeta 1\n")
        refused = pair_fleet.launch("--hosts", str(hosts))
        assert refused.returncode == 2
        assert f"needed in {disk}/train, 66 kB free; make space" in refused.stderr
        assert "--skip-space-check" in refused.stderr
        assert not (disk / "train").exists()
        left_out = pair_fleet.run(*pair_fleet.argv("plan", "--hosts", str(hosts), "--skip-unready", "--json"))
        assert [len(host["units"]) for host in json.loads(left_out.stdout)["hosts"]] == [0, 24]
        heedless = pair_fleet.run(*pair_fleet.argv("plan", "--hosts", str(hosts), "--skip-space-check"))
        assert "66 kB free: should it run full, that host stops" in heedless.stderr
