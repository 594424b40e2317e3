"""provision/finish/exports.py: on this machine as the one host; on two over ssh it is tested in tests/e2e."""

import os
import sys
import threading
from pathlib import Path
from queue import SimpleQueue

import pytest

from provision.finish.exports import Exported, Exports, HostShards, mark_of
from provision.hosts import Host
from provision.plan.plan import ExportWanted
from shard.records.job import Holdout, Job
from tests.support.jobs import make_job, write_corpus
from tests.support.worker import write_all


@pytest.fixture
def job(tmp_path: Path) -> Job:
    made = make_job(write_corpus(tmp_path / "corpus", ["one", "two"], files=2), tmp_path, holdout=Holdout(rate=0.0))
    write_all(made)
    return made


def exports_of(job: Job, target: Path, said: "SimpleQueue[str]") -> Exports:
    shares = [HostShards(Host(name="localhost", ranks=1), sys.executable, (job.output_dir, job.holdout_dir))]
    wanted = ExportWanted(format="nanogpt", to=str(target))
    mark = mark_of(shares[0].directories, wanted)
    return Exports(shares, target.with_name("none"), wanted, said.put, mark, look_seconds=0.2)


def test_how_far_a_host_is(job: Job, tmp_path: Path) -> None:
    """While a host is at work, what it has written is told; stopping ends it and leaves nothing."""
    payload = Path(job.output_dir) / "000001.bin"
    payload.unlink()
    os.mkfifo(payload)  # nobody writes to it: who reads it waits
    said: SimpleQueue[str] = SimpleQueue()
    exports = exports_of(job, tmp_path / "made", said)
    outcomes: dict[str, Exported | str] = {}
    running = threading.Thread(target=lambda: outcomes.update(exports.run()))
    running.start()
    assert "MB written, from 0 MB of shards" in said.get(timeout=30)
    exports.stop()
    running.join(30)
    assert "exit status 143" in str(outcomes["localhost"])
    assert not [path.name for path in tmp_path.iterdir() if "made" in path.name]


def test_stopped_before_it_began(job: Job, tmp_path: Path) -> None:
    """What has been stopped is not begun any more."""
    exports = exports_of(job, tmp_path / "made", SimpleQueue())
    exports.stop()
    assert exports.run() == {"localhost": "localhost: not begun"}
    assert not (tmp_path / "made").exists()


def test_a_format_that_is_none(job: Job, tmp_path: Path) -> None:
    """The worker says which formats there are."""
    shares = [HostShards(Host(name="localhost", ranks=1), sys.executable, (job.output_dir,))]
    wanted = ExportWanted(format="tarball", to=str(tmp_path / "made"))
    outcomes = Exports(shares, tmp_path, wanted, lambda _: None, "export-test").run()
    assert "format 'tarball': there are nanogpt" in str(outcomes["localhost"])


def test_notes_of_hosts_are_told(job: Job, tmp_path: Path) -> None:
    """What a host says of its export beyond figures, such as that a split is empty, comes with them."""
    said: SimpleQueue[str] = SimpleQueue()
    exports_of(job, tmp_path / "made", said).run()
    told = [said.get() for _ in range(said.qsize())][-1]  # before it how far the host is, as often as that is looked at
    assert "2 documents" in told and "; note: " in told and "holdout is empty (no token)" in told
