"""shard/host/supervisor.py, crew.py, rank.py, stops.py and stopping.py: real supervisors with real ranks."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from shard.records.job import Job
from shard.records.options import Options
from shard.records.progress import (
    HostDone,
    HostStarted,
    HostStopping,
    Note,
    Progress,
    RankExited,
    UnitDone,
    UnitFailed,
    UnitsKept,
    decode,
)
from shard.storage.store import directories_of
from tests.support import disks
from tests.support.hub import RunningHub, running_hub
from tests.support.jobs import QUICK, RUN_ID, hub_dataset, hub_units, json_spec, make_job, write_corpus, write_job
from tests.support.supervisors import Supervisor, kill, supervising, wait_until
from tests.support.worker import write_all

pytestmark = pytest.mark.slow

OPTIONS = Options(progress_seconds=0.2, grace_seconds=1.0, retry_seconds=600.0, stall_seconds=600.0)
STALL = {"kind": "stall", "after": 0, "seconds": 3600, "times": None}


@pytest.fixture
def job(corpus_dir: Path, tmp_path: Path) -> Job:
    """Eight units of real text for two ranks."""
    return make_job(corpus_dir, tmp_path / "out", parts=2, ranks=2)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def running(served: Path) -> Iterator[RunningHub]:
    with running_hub(served) as server:
        yield server


@pytest.fixture
def hub(running: RunningHub) -> Iterator[RunningHub]:
    yield running
    running.clear()


@pytest.fixture
def hub_job(hub: RunningHub, served: Path, documents: list[str], tmp_path: Path) -> Job:
    """Six units behind a Hub, whose faults decide when a rank hangs."""
    name = f"o/r{len(list(served.glob('*/*')))}"
    write_corpus(served / name, documents[:120], files=6, compression="none")
    dataset = hub_dataset(hub.endpoint, name)
    return make_job(dataset, tmp_path / "out", units=hub_units(dataset), ranks=2, options=OPTIONS)


def bytes_of(job: Job) -> dict[str, bytes]:
    return {
        f"{split}/{path.name}": path.read_bytes()
        for split, directory in directories_of(job).items()
        for path in sorted(directory.glob("*.*"))
        if path.suffix in (".bin", ".idx")
    }


def expected_bytes(job: Job, tmp_path: Path) -> dict[str, bytes]:
    """What one process writes for the same job."""
    alone = replace(job, output_dir=str(tmp_path / "alone/t"), holdout_dir=str(tmp_path / "alone/h"))
    write_all(alone)
    found = bytes_of(alone)
    assert len(found) == 4 * len(job.units)
    return found


def unfinished(job: Job) -> list[Path]:
    """Temporary files and scratch that are left."""
    return [path for directory in directories_of(job).values() for path in directory.glob(".[!s]*.tmp")] + [
        path for directory in directories_of(job).values() for path in directory.glob(".scratch*")
    ]


def failures(supervisor: Supervisor) -> list[tuple[int, int, bool]]:
    return [(e.unit, e.attempt, e.quarantined) for e in supervisor.events if isinstance(e, UnitFailed)]


def at_work(supervisor: Supervisor) -> dict[int, int]:
    """Which unit each rank has in work, as last reported."""
    last = [event for event in supervisor.events if isinstance(event, Progress)][-1:]
    return {rank: unit for event in last for rank, unit, _ in event.ranks if unit >= 0}


# To the end


def test_a_job_is_done(job: Job, tmp_path: Path) -> None:
    """All units are committed, once each; the events add up to the records; nothing is left over; exit 0."""
    expected = expected_bytes(job, tmp_path)
    directory = write_job(job, tmp_path)
    (directory / "token").write_text("hf_secret")
    with supervising(directory) as supervisor:
        done = supervisor.end()
        assert (supervisor.process.returncode, supervisor.stderr(), supervisor.other_lines) == (0, "", [])
        assert done is not None
        assert (done.outcome, done.units_done, done.units, done.quarantined) == ("complete", 8, 8, [])
        assert isinstance(supervisor.events[0], HostStarted)
        finished = [event for event in supervisor.events if isinstance(event, UnitDone)]
        assert list(range(8)) == sorted(event.unit for event in finished)
        assert sum(e.documents + e.holdout_documents + e.dropped for e in finished) == 400
        assert {0, 1} >= {event.rank for event in finished}
        progress = supervisor.of(Progress)
        assert progress
        last = progress[-1]
        assert isinstance(last, Progress)
        assert sum(e.documents + e.holdout_documents for e in finished) == last.documents
        assert sum(e.tokens + e.holdout_tokens for e in finished) == last.tokens
        assert (last.units_done, last.units_failed) == (8, 0)
        assert supervisor.ranks() == []
    assert expected == bytes_of(job)
    assert unfinished(job) == []
    assert not (directory / "token").exists()
    kept = [decode(line) for line in (directory / "events.jsonl").read_bytes().splitlines()]
    assert [e for e in supervisor.events if not isinstance(e, Progress)] == kept


def test_through_the_hub(hub_job: Job, hub: RunningHub, tmp_path: Path) -> None:
    """Streamed and downloaded, from the Hub, one resolve a file, and the same bytes.

    The two ranks resolve a file each where one is given, near the end, what the other had looked at.
    """
    streamed = replace(hub_job, options=replace(OPTIONS, fetch="stream"))
    downloaded = replace(
        hub_job,
        options=replace(OPTIONS, fetch="download"),
        run_id="download",
        output_dir=str(tmp_path / "d/t"),
        holdout_dir=str(tmp_path / "d/h"),
    )
    for job in (streamed, downloaded):
        before = hub.stats()["resolve"]
        with supervising(write_job(job, tmp_path)) as supervisor:
            supervisor.end()
            assert supervisor.process.returncode == 0
        assert hub.stats()["resolve"] - before in (6, 7)
        assert unfinished(job) == []
    assert bytes_of(streamed) == bytes_of(downloaded)


def test_more_ranks_than_units(job: Job, tmp_path: Path) -> None:
    """Ranks that would find nothing to do are not started."""
    one = replace(job, units=job.units[:1], ranks=8, world_size=8)
    with supervising(write_job(one, tmp_path)) as supervisor:
        supervisor.end()
        assert supervisor.process.returncode == 0
    assert len(list((tmp_path / f"runs/{RUN_ID}/localhost/log").iterdir())) == 1


def test_a_slow_engine_is_said(tmp_path: Path, documents: list[str], small_tokenizer: Path) -> None:
    """When the fast engine cannot take the tokenizer the host says so, once."""
    config = json.loads(small_tokenizer.read_text())
    config["normalizer"] = {"type": "Replace", "pattern": {"String": "e"}, "content": "ee"}
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "tokenizer.json").write_text(json.dumps(config))
    corpus = write_corpus(tmp_path / "in", documents[:20], files=2)
    job = make_job(corpus, tmp_path / "out", tokenizer=json_spec(tmp_path / "t" / "tokenizer.json"), ranks=2)
    with supervising(write_job(job, tmp_path, tmp_path / "t")) as supervisor:
        supervisor.end()
        assert supervisor.process.returncode == 0
        notes = [event.text for event in supervisor.events if isinstance(event, Note)]
    assert len(notes) == 1
    assert "slow engine" in notes[0]


# Stopped


@pytest.mark.parametrize("how", ["hang up", "SIGTERM", "SIGINT", "SIGHUP"])
def test_stopping(how: str, hub: RunningHub, hub_job: Job, tmp_path: Path) -> None:
    """When standard input ends, or at a signal, all ranks stop within seconds, nothing half-written stays, and the
    last word is `stopped`, with units pending, none failed."""
    hub.arm(STALL)
    directory = write_job(hub_job, tmp_path)
    with supervising(directory) as supervisor:
        supervisor.wait_for_ranks(2)
        supervisor.wait_for(lambda: len(at_work(supervisor)) == 2)
        started = time.monotonic()
        if how == "hang up":
            supervisor.hang_up()
        else:
            supervisor.process.send_signal(signal.Signals[how])
        done = supervisor.end()
        assert time.monotonic() - started < 8.0
        assert (supervisor.process.returncode, supervisor.stderr()) == (130, "")
        assert done is not None
        assert (done.outcome, done.units_done, done.quarantined) == ("stopped", 0, [])
        assert ("the launcher is gone" if how == "hang up" else how) in done.reason
        assert len(supervisor.of(HostStopping)) == 1
        assert [] == supervisor.of(RankExited) == supervisor.of(UnitFailed) == supervisor.ranks()
    assert unfinished(hub_job) == []
    assert json.loads((directory / "stopped.json").read_text())["left"] == []


def test_a_silent_launcher(hub: RunningHub, hub_job: Job, tmp_path: Path) -> None:
    """When the lease is not renewed the host stops itself; each renewal grants a new term, whatever the clocks say."""
    hub.arm(STALL)
    job = replace(hub_job, options=replace(OPTIONS, lease_seconds=2.0))
    directory = write_job(job, tmp_path)
    lease = directory / "lease"
    with supervising(directory) as supervisor:
        supervisor.wait_for_ranks(2)
        for step in range(8):
            lease.touch()
            os.utime(lease, (step, step))
            heard = len(supervisor.of(Progress))
            supervisor.wait_for(lambda heard=heard: len(supervisor.of(Progress)) >= heard + 2)
        assert supervisor.of(HostStopping) == []
        lease.unlink()
        done = supervisor.end()
        assert done is not None
        assert (done.outcome, done.reason) == ("stopped", "not heard from the launcher for 2 s")
        assert supervisor.ranks() == []


@pytest.mark.parametrize("stdin", ["/dev/null", "a file", "closed"])
def test_standard_input_that_cannot_end(stdin: str, job: Job, tmp_path: Path) -> None:
    """A supervisor that could not notice the launcher's death does not start."""
    directory = write_job(job, tmp_path)
    command = [sys.executable, "-m", "shard", "run", "--job", str(directory)]
    if stdin == "closed":
        command = ["bash", "-c", 'exec "$@" <&-', "bash", *command]
    file = Path("/dev/null") if stdin == "/dev/null" else directory / "job.json"
    with file.open() as opened:
        ended = subprocess.run(command, stdin=opened, capture_output=True, timeout=60)
    done = decode(ended.stdout.splitlines()[-1])
    assert isinstance(done, HostDone)
    assert (ended.returncode, done.outcome) == (2, "failed")
    assert "standard input" in done.reason


def run_stop(directory: Path, *arguments: str) -> list[Any]:
    ended = subprocess.run(
        [sys.executable, "-m", "shard", *arguments, "--job", str(directory)], capture_output=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    found: list[Any] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("now", [[], ["--now"]])
def test_stop_and_left(now: list[str], hub: RunningHub, hub_job: Job, tmp_path: Path) -> None:
    """`left` names the living processes of a run, `stop` ends them and says what is left: nothing."""
    hub.arm(STALL)
    directory = write_job(hub_job, tmp_path)
    with supervising(directory) as supervisor:
        supervisor.wait_for_ranks(2)
        supervisor.wait_for(lambda: bool(supervisor.of(Progress)))
        assert {supervisor.process.pid} < {process["pid"] for process in run_stop(directory, "left")}
        assert run_stop(directory, "stop", *now) == []
        assert supervisor.process.wait(5) == 130
        assert run_stop(directory, "left") == []
    assert unfinished(hub_job) == []


def test_stop_without_a_supervisor(hub: RunningHub, hub_job: Job, tmp_path: Path) -> None:
    """`stop` works where the supervisor was killed, hangs, or never was."""
    directory = write_job(hub_job, tmp_path)
    assert run_stop(directory, "stop") == []
    assert run_stop(tmp_path / "runs" / "never-was" / "localhost", "stop") == []
    hub.arm(STALL)
    with supervising(directory) as supervisor:
        supervisor.wait_for_ranks(2)
        supervisor.process.send_signal(signal.SIGSTOP)
        assert run_stop(directory, "stop", "--now") == []
        assert supervisor.process.wait(5) == -signal.SIGKILL
    assert unfinished(hub_job) == []


def test_a_token_of_another_start_is_left_alone(hub: RunningHub, hub_job: Job, tmp_path: Path) -> None:
    """A supervisor removes the token that it was started with, and not one that was sent for the next start since."""
    hub.arm(STALL)
    directory = write_job(hub_job, tmp_path)
    token = directory / "token"
    token.write_text("first")
    with supervising(directory) as supervisor:
        supervisor.wait_for_ranks(2)
        (directory / "next").write_text("second")
        (directory / "next").replace(token)
        supervisor.process.terminate()
        assert supervisor.process.wait(20) == 130
    assert token.read_text() == "second"
    with supervising(directory) as supervisor:
        supervisor.wait_for_ranks(2)
        supervisor.process.terminate()
        assert supervisor.process.wait(20) == 130
    assert not token.exists()


def test_stop_removes_a_token_that_came_without_a_job(tmp_path: Path) -> None:
    """Where sending was cut short between token and job, `stop` removes the token all the same."""
    directory = tmp_path / "runs" / "cut-short" / "localhost"
    directory.mkdir(parents=True)
    (directory / "token").write_text("secret")
    assert run_stop(directory, "stop") == []
    assert not (directory / "token").exists()


# Struck


def test_a_killed_rank_is_started_again(hub: RunningHub, hub_job: Job, tmp_path: Path) -> None:
    """When a rank is killed its unit is done by another attempt, the rank comes back, and the bytes are the same."""
    expected = expected_bytes(hub_job, tmp_path)
    hub.arm({**STALL, "times": 1})
    with supervising(write_job(hub_job, tmp_path)) as supervisor:
        supervisor.wait_for(lambda: len(supervisor.of(UnitDone)) >= 1)
        # One rank hangs in the stall; the other works on. Kill whatever rank is there.
        for process in supervisor.ranks():
            kill(process)
        done = supervisor.end()
        assert supervisor.process.returncode == 0
        assert done is not None
        assert done.outcome == "complete"
        exits = [event for event in supervisor.events if isinstance(event, RankExited)]
        assert exits
        assert all((e.how, e.restarted) == ("killed by SIGKILL", True) for e in exits)
        assert all((attempt, last) == (1, False) for _, attempt, last in failures(supervisor))
        assert list(range(6)) == sorted(e.unit for e in supervisor.events if isinstance(e, UnitDone))
    assert expected == bytes_of(hub_job)
    assert unfinished(hub_job) == []


def test_a_rank_that_always_dies(hub: RunningHub, hub_job: Job, tmp_path: Path) -> None:
    """A rank that dies again and again is given up after so many restarts; the host ends incomplete, not never."""
    hub.arm(STALL)
    job = replace(hub_job, ranks=1, options=replace(OPTIONS, rank_restarts=1, attempts=9))
    with supervising(write_job(job, tmp_path)) as supervisor:
        for crash in (1, 2):
            (process, *_) = supervisor.wait_for_ranks(1)
            kill(process)
            supervisor.wait_for(lambda crash=crash: len(supervisor.of(RankExited)) == crash)
        done = supervisor.end()
        assert supervisor.process.returncode == 1
        assert done is not None
        assert (done.outcome, done.units_done, done.quarantined) == ("incomplete", 0, [])
        assert "no rank is left" in done.reason


def test_a_killed_supervisor_leaves_no_rank(hub: RunningHub, hub_job: Job, tmp_path: Path) -> None:
    """When the supervisor is killed its ranks die with it, and the same job can be started at once and completed."""
    expected = expected_bytes(hub_job, tmp_path)
    hub.arm(STALL)
    directory = write_job(hub_job, tmp_path)
    with supervising(directory) as supervisor:
        supervisor.wait_for_ranks(2)
        supervisor.process.kill()
        wait_until(lambda: None if supervisor.ranks() else True)
    hub.clear()
    with supervising(directory) as supervisor:
        supervisor.end()
        assert supervisor.process.returncode == 0
    assert expected == bytes_of(hub_job)
    assert unfinished(hub_job) == []


def test_a_resume_keeps_what_is_committed(hub: RunningHub, hub_job: Job, tmp_path: Path) -> None:
    """Committed units are not touched by a resume, only reported; the others are done."""
    expected = expected_bytes(hub_job, tmp_path)
    directory = write_job(hub_job, tmp_path)
    hub.arm({**STALL, "path": f"{hub_job.dataset.root}/part-5.parquet"})
    with supervising(directory) as supervisor:
        supervisor.wait_for(lambda: len(supervisor.of(UnitDone)) == 5)
        supervisor.hang_up()
        assert supervisor.end() is not None
    before = {path: path.stat().st_mtime_ns for d in directories_of(hub_job).values() for path in d.glob("0*")}
    assert len(before) == 30
    hub.clear()
    with supervising(directory) as supervisor:
        done = supervisor.end()
        assert done is not None
        assert (done.outcome, done.units_done) == ("complete", 6)
        kept = [event for event in supervisor.events if isinstance(event, UnitsKept)]
        assert [list(range(5))] == [[counts.unit for counts in event.units] for event in kept]
        assert [event.unit for event in supervisor.events if isinstance(event, UnitDone)] == [5]
        finished = supervisor.of(UnitDone)[0]
        assert isinstance(finished, UnitDone)
        counted = [*kept[0].units, finished.counts]
        assert sum(counts.documents + counts.holdout_documents for counts in counted) == 120
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert expected == bytes_of(hub_job)


def test_a_poison_unit_is_put_aside(job: Job, corpus_dir: Path, documents: list[str], tmp_path: Path) -> None:
    """A unit that cannot succeed is tried no more often than it makes sense, named with its reason, and the rest is
    done; exit 1."""
    corpus = write_corpus(tmp_path / "in", documents[:60], files=3, write_page_checksum=True, compression="none")
    damaged, truncated = corpus / "part-1.parquet", corpus / "part-2.parquet"
    data = bytearray(damaged.read_bytes())
    data[bytes(data).index(documents[25].encode()[:60])] ^= 1
    damaged.write_bytes(data)
    truncated.write_bytes(truncated.read_bytes()[:-10])
    job = make_job(corpus, tmp_path / "out", options=replace(QUICK, attempts=2), ranks=2)
    with supervising(write_job(job, tmp_path)) as supervisor:
        done = supervisor.end()
        assert supervisor.process.returncode == 1
        assert done is not None
        assert (done.outcome, done.units_done, sorted(done.quarantined)) == ("incomplete", 1, [1, 2])
        # A damaged page may be the network's doing and is tried again; a file that is no Parquet is not.
        assert sorted(failures(supervisor)) == [(1, 1, False), (1, 2, True), (2, 1, True)]
        reasons = {event.unit: event.reason for event in supervisor.events if isinstance(event, UnitFailed)}
        assert "part-1.parquet: after row" in reasons[1]
        assert "part-2.parquet: not a whole Parquet file" in reasons[2]
    assert [path.name for path in directories_of(job)["train"].glob("0*")] != []
    assert unfinished(job) == []


def test_a_unit_that_kills_its_rank_is_put_aside(hub: RunningHub, hub_job: Job, tmp_path: Path) -> None:
    """So is a unit that takes the whole process with it each time."""
    poison = f"{hub_job.dataset.root}/part-2.parquet"
    hub.arm({**STALL, "path": poison})
    job = replace(hub_job, ranks=1, options=replace(OPTIONS, attempts=2))
    with supervising(write_job(job, tmp_path)) as supervisor:
        for crash in (1, 2):
            supervisor.wait_for(lambda: at_work(supervisor) == {0: 2})
            for process in supervisor.ranks():
                kill(process)
            supervisor.wait_for(lambda crash=crash: len(supervisor.of(RankExited)) == crash)
            supervisor.wait_for(lambda: at_work(supervisor) != {0: 2})
            # The others first: a unit that kills may use up the restarts.
            supervisor.wait_for(lambda: len(supervisor.of(UnitDone)) == 5)
        done = supervisor.end()
        assert supervisor.process.returncode == 1
        assert done is not None
        assert (done.outcome, done.units_done, done.quarantined) == ("incomplete", 5, [2])
        assert failures(supervisor) == [(2, 1, False), (2, 2, True)]


def test_a_tokenizer_that_is_missing(job: Job, small_tokenizer: Path, corpus_dir: Path, tmp_path: Path) -> None:
    """What no rank on this host could overcome ends the host at once, with the reason."""
    job = make_job(corpus_dir, tmp_path / "out", tokenizer=json_spec(small_tokenizer), ranks=2)
    with supervising(write_job(job, tmp_path)) as supervisor:
        done = supervisor.end()
        assert supervisor.process.returncode == 1
        assert done is not None
        assert (done.outcome, done.units_done) == ("failed", 0)
        assert "tokenizer.json: No such file" in done.reason
        assert supervisor.ranks() == []


def test_another_run_on_the_directories(hub: RunningHub, hub_job: Job, tmp_path: Path) -> None:
    """A second run on the same output directories is refused with the holder's name, and does not disturb it."""
    hub.arm(STALL)
    with supervising(write_job(hub_job, tmp_path)) as first:
        first.wait_for_ranks(2)
        with supervising(write_job(replace(hub_job, run_id="second"), tmp_path)) as second:
            done = second.end()
            assert second.process.returncode == 2
            assert done is not None
            assert f"run {RUN_ID} is writing there" in done.reason
        hub.clear()
        first.hang_up()
        assert first.end() is not None


def test_the_same_job_twice(hub: RunningHub, hub_job: Job, tmp_path: Path) -> None:
    """A second supervisor of the same job waits for the first, and goes on when that has stopped."""
    hub.arm({**STALL, "times": 2})
    directory = write_job(hub_job, tmp_path)
    with supervising(directory) as first:
        wait_until(lambda: True if hub.stats()["faults_left"] == 0 else None)
        with supervising(directory) as second:
            wait_until(lambda: True if _waits(second.process.pid, directory / "lock") else None)
            assert second.events == []
            first.hang_up()
            done = first.end()
            assert done is not None
            assert done.outcome == "stopped"
            done = second.end()
            assert done is not None
            assert (done.outcome, second.process.returncode) == ("complete", 0)


def _waits(pid: int, lock: Path) -> bool:
    """Whether a process has a lock file open that another holds."""
    try:
        held = any(os.readlink(entry) == str(lock) for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    if held:
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def test_a_full_disk_stops_the_host(corpus_dir: Path, tmp_path: Path) -> None:
    """A full disk is no unit's fault: the host stops, says where, and the units stay pending; later it resumes."""
    with disks.small_disk(tmp_path / "disk", "1m") as disk:
        job = make_job(corpus_dir, disk / "out", ranks=2)
        directory = write_job(job, tmp_path)
        with supervising(directory) as supervisor:
            done = supervisor.end()
            assert supervisor.process.returncode == 1
            assert done is not None
            assert (done.outcome, done.quarantined) == ("failed", [])
            assert f"{disk}/out" in done.reason
            assert "free space" in done.reason
        assert unfinished(job) == []
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        with supervising(directory) as supervisor:
            supervisor.end()
            assert supervisor.process.returncode == 0
