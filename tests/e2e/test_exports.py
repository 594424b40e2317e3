"""Exports on two hosts reached over ssh: at the end of a run, and by `shardfleet export --hosts`."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.support.fleet import SHARDFLEET, Fleet, Seen, running_fleet, seen
from tests.support.plans import tree_of

pytestmark = pytest.mark.ssh


@dataclass(frozen=True)
class Exported:
    """A fleet whose run has exported; `done` is that run."""

    fleet: Fleet
    done: "subprocess.CompletedProcess[str]"

    def home(self, host: str) -> Path:
        return self.fleet.homes[host]

    def call(self, *args: str, timeout: float = 60.0) -> "subprocess.CompletedProcess[str]":
        return self.fleet.run(*self.argv(*args), timeout=timeout)

    def argv(self, *args: str) -> list[str]:
        """`shardfleet export` of both directories on both hosts."""
        first = self.fleet.options.index("--ssh-config")
        ssh = self.fleet.options[first : first + 4]
        directories = [f"~/{self.fleet.base}/{name}" for name in ("shards", "holdout")]
        return [SHARDFLEET, "export", *directories, "--hosts", "hosts.txt", *ssh, *args]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, hub_directory: Path) -> Iterator[Exported]:
    with running_fleet(tmp_path_factory.mktemp("exports"), hub_directory, {"alpha": 1, "beta": 1}) as fleet:
        done = fleet.launch("--json", "--format", "nanogpt", "--to", "~/from run")
        assert done.returncode == 0, done.stdout + done.stderr
        yield Exported(fleet, done)


def _payload(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.glob("[0-9]*.bin")))


def test_run_ends_with_an_export(exported: Exported) -> None:
    """Every host has its own shards in the format, train and holdout, and the last words of the run say so."""
    tokens = 0
    for host in ("alpha", "beta"):
        base = exported.home(host) / exported.fleet.base
        assert (exported.home(host) / "from run" / "train.bin").read_bytes() == _payload(base / "shards")
        assert (exported.home(host) / "from run" / "val.bin").read_bytes() == _payload(base / "holdout")
        tokens += (len(_payload(base / "shards")) + len(_payload(base / "holdout"))) // 2
    last = json.loads(exported.done.stdout.splitlines()[-1])
    assert f"nanogpt in ~/from run on 2 of 2 hosts: 400 documents, {tokens:,} tokens" in last["notes"]


def test_run_whose_export_fails(exported: Exported) -> None:
    """The same run with another --format into the same directory replaces nothing, says so and exits with 1."""
    before = {host: tree_of(exported.home(host) / "from run") for host in ("alpha", "beta")}
    other = exported.fleet.launch("--plain", "--format", "datatrove", "--to", "~/from run")
    assert other.returncode == 1
    said = " ".join(other.stdout.split())
    assert "datatrove in ~/from run on 0 of 2 hosts" in said and "not exported: beta: " in said
    assert {host: tree_of(exported.home(host) / "from run") for host in ("alpha", "beta")} == before


def test_ctrl_c_in_the_export_of_a_run(exported: Exported) -> None:
    """Ctrl+C while hosts export ends that on every host, and the run says that it was stopped."""
    for host in ("alpha", "beta"):
        (exported.home(host) / "waits").mkdir()
        os.mkfifo(exported.home(host) / "waits" / "export.json")  # nobody writes to it: who looks into it waits
    running = exported.fleet.start("--plain", "--format", "nanogpt", "--to", "~/waits")
    deadline = time.monotonic() + 60
    while not all(_exporters(exported.fleet, exported.home(host)) for host in ("alpha", "beta")):
        assert time.monotonic() < deadline and running.process.poll() is None, running.text
        time.sleep(0.02)
    running.interrupt()
    assert running.wait() == 130, running.text
    assert not any(_exporters(exported.fleet, exported.home(host)) for host in ("alpha", "beta"))
    assert "nanogpt in ~/waits on 0 of 2 hosts" in running.text


def test_export_on_hosts(exported: Exported) -> None:
    """Every host exports at once and says what it made; run again, those that have it are skipped and said."""
    done = exported.call("--format", "mds", "--context-length", "64", "--to", "~/mds")
    assert done.returncode == 0, done.stdout + done.stderr
    for host in ("alpha", "beta"):
        assert (exported.home(host) / "mds" / "train" / "index.json").exists()
        assert any(line.startswith(f"{host}: ") and "as mds in ~/mds" in line for line in done.stdout.splitlines())
    shutil.rmtree(exported.home("beta") / "mds")
    again = exported.call("--format", "mds", "--context-length", "64", "--to", "~/mds")
    assert again.returncode == 0, again.stdout + again.stderr
    lines = {line.partition(":")[0]: line for line in again.stdout.splitlines()}
    assert "is there already" in lines["alpha"] and "is there already" not in lines["beta"]
    # Other options are another export, which replaces nothing.
    other = exported.call("--format", "mds", "--context-length", "32", "--to", "~/mds")
    assert other.returncode == 1 and "exists" in other.stdout


def test_errors_are_named_by_host(exported: Exported) -> None:
    """A damaged shard on one host fails that host alone, with the file named; the exit code says so."""
    payload = next(
        path
        for path in sorted((exported.home("beta") / exported.fleet.base / "shards").glob("*.bin"))
        if path.stat().st_size
    )
    data = payload.read_bytes()
    payload.write_bytes(data[:-2] + b"\1\0")
    try:
        done = exported.call("--format", "parquet", "--to", "~/rows")
    finally:
        payload.write_bytes(data)
    assert done.returncode == 1
    assert "beta: " in done.stdout and payload.name in done.stdout
    assert "not exported on 1 of 2 hosts: beta" in done.stderr
    assert (exported.home("alpha") / "rows").exists() and not (exported.home("beta") / "rows").exists()


@pytest.mark.parametrize("killed", [False, True], ids=["asked", "killed before"])
def test_ctrl_c_stops_the_exports(exported: Exported, killed: bool) -> None:
    """Ctrl+C ends the exports on every host, nothing of them stays, and exports made after that are whole."""
    name = f"stopped-{killed}"
    payload = next(
        path
        for path in sorted((exported.home("beta") / exported.fleet.base / "shards").glob("*.bin"))
        if path.stat().st_size
    )
    data = payload.read_bytes()
    payload.unlink()
    os.mkfifo(payload)  # nobody writes to it: who reads it waits
    try:
        running = exported.fleet.begin(exported.argv("--format", "nanogpt", "--to", f"~/{name}"))
        unfinished = _wait_for(exported.home("beta"), f".{name}.")
        if killed:
            for process in _exporters(exported.fleet, exported.home("beta")):
                os.kill(process.pid, signal.SIGKILL)
            assert running.wait() == 1
            assert unfinished.exists()
        else:
            running.interrupt()
            assert running.wait() == 130, running.text
            assert not unfinished.exists() and not _exporters(exported.fleet, exported.home("beta"))
    finally:
        payload.unlink()
        payload.write_bytes(data)
    assert not (exported.home("beta") / name).exists()
    done = exported.call("--format", "nanogpt", "--to", f"~/{name}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not unfinished.exists()
    tokens = np.fromfile(exported.home("beta") / name / "train.bin", dtype="<u2")
    assert tokens.tobytes() == _payload(payload.parent)


def _wait_for(directory: Path, prefix: str) -> Path:
    """What appears in a directory under a name that begins so."""
    deadline = time.monotonic() + 30
    while not (found := [path for path in directory.iterdir() if path.name.startswith(prefix)]):
        assert time.monotonic() < deadline, f"{prefix} did not appear"
        time.sleep(0.02)
    return found[0]


def _exporters(fleet: Fleet, home: Path) -> list[Seen]:
    """Living workers that export from this host's shards."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    found = [process for process in map(seen, pids) if process is not None]
    return [
        process
        for process in found
        if process.argv[1:4] == ("-m", "shard", "export") and f"{home}/{fleet.base}/shards" in process.argv
    ]
