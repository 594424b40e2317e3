"""shard/host/detach.py and follow.py: supervisors that need nobody, and what who joins later is told of them."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from shard.host.follow import Standing
from shard.processes import Process, cookie, end_all, with_cookie
from shard.records.job import Job
from shard.records.options import Options
from shard.records.progress import (
    AnyEvent,
    HostDone,
    HostStarted,
    HostStopping,
    Progress,
    UnitDone,
    UnitsKept,
    decode,
    encode,
)
from tests.support.hub import RunningHub, running_hub
from tests.support.jobs import RUN_ID, hub_dataset, hub_units, make_job, write_corpus, write_job
from tests.support.supervisors import PATIENCE, kill, wait_until

pytestmark = pytest.mark.slow

ALONE = Options(
    progress_seconds=0.2, grace_seconds=1.0, retry_seconds=600.0, stall_seconds=2.0, on_disconnect="continue"
)
STARTED = HostStarted(host="localhost", run_id=RUN_ID, pid=1, ranks=1, units=4)
DONE = HostDone(host="localhost", outcome="complete", units_done=4, units=4, quarantined=[])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    directory = tmp_path_factory.mktemp("served")
    write_corpus(directory / "o/text", documents[:80], files=4)
    return directory


@pytest.fixture(scope="module")
def running(served: Path) -> Iterator[RunningHub]:
    with running_hub(served) as server:
        yield server


@pytest.fixture
def hub(running: RunningHub) -> Iterator[RunningHub]:
    yield running
    running.clear()


@pytest.fixture
def job(hub: RunningHub, tmp_path: Path) -> Job:
    """Four units behind a Hub."""
    dataset = hub_dataset(hub.endpoint, "o/text")
    return make_job(dataset, tmp_path / "out", units=hub_units(dataset), options=ALONE)


@pytest.fixture
def directory(job: Job, tmp_path: Path) -> Iterator[Path]:
    """The directory of that job; whatever becomes of a test, nothing of the run is left."""
    yield write_job(job, tmp_path / "base")
    assert end_all(cookie(job.run_id, job.host), grace_seconds=0.0) == []


def hold(hub: RunningHub) -> None:
    """Texts come no more, until a while after the Hub is cleared: ranks stay at work."""
    hub.arm({"kind": "stall", "where": "cdn", "seconds": 3600.0, "times": None})


def start(directory: Path, *, marked: bool = True) -> "subprocess.Popen[str]":
    """`shard start`, as the launcher has it run; not `marked`, nobody takes it for a process of the run."""
    return subprocess.Popen(
        [sys.executable, "-m", "shard", "start", "--job", str(directory)],
        env=os.environ | (cookie(directory.parent.name, directory.name) if marked else {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def first_word(directory: Path) -> AnyEvent | None:
    said, complaint = (process := start(directory)).communicate(timeout=PATIENCE)
    assert (process.returncode, complaint) == (0, "")
    return decode(said)


def supervisors(directory: Path) -> list[Process]:
    found = with_cookie(cookie(directory.parent.name, directory.name))
    return [process for process in found if " shard run " in process.command]


def kept(directory: Path) -> list[AnyEvent]:
    """All that the host has ever said there."""
    lines = (directory / "events.jsonl").read_bytes().splitlines()
    return [event for line in lines if (event := decode(line)) is not None]


def once(directory: Path) -> tuple[list[AnyEvent], Standing]:
    done = subprocess.run(
        [sys.executable, "-m", "shard", "follow", "--once", "--job", str(directory)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    *lines, last = done.stdout.splitlines()
    events = [decode(line) for line in lines]
    assert None not in events
    return [event for event in events if event is not None], msgspec.json.decode(last, type=Standing)


class Follower:
    """`shard follow`, its standard input held open as pdsh does."""

    def __init__(self, directory: Path, *args: str) -> None:
        self.events: list[AnyEvent] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "shard", "follow", "--job", str(directory), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._heard = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, condition: Callable[[list[AnyEvent]], bool], seconds: float = PATIENCE) -> None:
        with self._heard:
            assert self._heard.wait_for(lambda: condition(self.events), seconds), self.events

    def end(self) -> list[AnyEvent]:
        """Wait until it has ended by itself; returns all that it has said."""
        assert self.process.wait(PATIENCE) == 0
        self._reader.join(PATIENCE)
        return self.events

    def hang_up(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if (event := decode(line)) is not None:
                with self._heard:
                    self.events.append(event)
                    self._heard.notify_all()


@contextmanager
def following(directory: Path, *args: str) -> Iterator[Follower]:
    follower = Follower(directory, *args)
    try:
        yield follower
    finally:
        follower.process.kill()
        follower.process.wait()
        for stream in (follower.process.stdin, follower.process.stdout):
            if stream is not None:
                stream.close()


def of(kind: type, events: list[AnyEvent]) -> list[AnyEvent]:
    return [event for event in events if isinstance(event, kind)]


def test_start_returns_when_the_job_is_taken(hub: RunningHub, directory: Path) -> None:
    """`start` prints the supervisor's first word and ends; that works on in a session of its own, heard by nobody.

    A token that was sent for the run stays until then, and no longer.
    """
    hold(hub)
    (directory / "token").write_text("hf_secret")
    word = first_word(directory)
    assert isinstance(word, HostStarted)
    (supervisor,) = supervisors(directory)
    assert supervisor.pid == word.pid == os.getsid(word.pid)
    fds = {int(fd.name): str(fd.readlink()) for fd in Path(f"/proc/{word.pid}/fd").iterdir() if int(fd.name) < 3}
    assert fds == {0: "/dev/null", 1: "/dev/null", 2: str(directory / "log/supervisor.log")}
    assert (directory / "token").exists()
    hub.clear()
    wait_until(lambda: True if supervisors(directory) == [] else None)
    assert kept(directory)[-1] == DONE
    assert not (directory / "token").exists()


def test_one_supervisor_at_a_time(job: Job, directory: Path) -> None:
    """Of two starts at once, the later waits for the supervisor of the earlier: what one has done, the other keeps."""
    both = [start(directory, marked=False), start(directory, marked=False)]
    words = [decode(process.communicate(timeout=PATIENCE)[0]) for process in both]
    assert [type(word) for word in words] == [HostStarted, HostStarted]
    events = wait_until(lambda: found if len(of(HostDone, found := kept(directory))) == 2 else None)
    turns = [type(event) for event in events if isinstance(event, HostStarted | HostDone)]
    assert turns == [HostStarted, HostDone, HostStarted, HostDone]
    assert len(of(UnitDone, events)) == len(job.units)
    assert [len(event.units) for event in events if isinstance(event, UnitsKept)] == [len(job.units)]


def test_start_says_why_there_is_none(job: Job, directory: Path) -> None:
    """A supervisor that refuses gives its reason as an event, one that cannot speak by its last line: exit not 0."""
    Path(job.output_dir).mkdir(parents=True)
    (Path(job.output_dir) / "dataset.json").write_text("no JSON")
    refused = start(directory)
    said, _ = refused.communicate(timeout=PATIENCE)
    word = decode(said)
    assert isinstance(word, HostDone)
    assert (refused.returncode, word.outcome) == (1, "failed")
    assert "dataset.json" in word.reason

    (directory / "lock").unlink()
    (directory / "lock").mkdir()
    mute = start(directory)
    said, complaint = mute.communicate(timeout=PATIENCE)
    assert (mute.returncode, said) == (1, "")
    assert "ended with status 1 before it had the job: " in complaint
    assert "Is a directory" in complaint


def test_who_joins_is_told_all_and_then_the_rest(hub: RunningHub, job: Job, directory: Path) -> None:
    """A follower tells what was said before it came, what is said while it is there, and ends with the supervisor."""
    hub.arm(
        {"kind": "stall", "where": "cdn", "seconds": 0.01, "times": 4},
        {"kind": "stall", "where": "cdn", "seconds": 3600.0, "times": None},
    )
    first_word(directory)
    wait_until(lambda: True if of(UnitDone, kept(directory)) else None)
    with following(directory) as follower:
        follower.wait_for(lambda events: bool(of(UnitDone, events)) and len(of(Progress, events)) > 2)
        hub.clear()
        events = follower.end()
    assert type(events[0]) is HostStarted
    assert len(of(UnitDone, events)) == len(job.units)
    assert of(HostDone, events) == [DONE]
    assert [event for event in events if not isinstance(event, Progress)] == kept(directory)


def test_a_follower_leaves_when_its_reader_does(hub: RunningHub, directory: Path) -> None:
    """When its standard input ends, so does a follower, within a second; the supervisor is not touched."""
    hold(hub)
    first_word(directory)
    with following(directory) as follower:
        follower.wait_for(lambda events: len(of(Progress, events)) > 0)
        follower.hang_up()
        assert follower.process.wait(timeout=5) == 0
    assert len(supervisors(directory)) == 1
    assert of(HostStopping, kept(directory)) == []


def test_a_killed_supervisor_ends_its_follower(hub: RunningHub, directory: Path) -> None:
    """A supervisor that can say nothing more is missed: the follower ends, and `--once` says that nothing works."""
    hold(hub)
    first_word(directory)
    with following(directory) as follower:
        follower.wait_for(lambda events: len(of(Progress, events)) > 0)
        kill(supervisors(directory)[0], signal.SIGKILL)
        assert of(HostDone, follower.end()) == []
    wait_until(lambda: True if once(directory)[1].left == [] else None)
    events, standing = once(directory)
    assert (standing.at_work, type(events[0]), type(events[-1])) == (False, HostStarted, Progress)


def test_once_tells_how_a_host_stands(hub: RunningHub, directory: Path, tmp_path: Path) -> None:
    """`--once` ends at once: with events, the latest progress, and whether anything works. Also where none ever did."""
    assert once(tmp_path / "nowhere/runs/r/h") == ([], Standing(at_work=False, silent_seconds=None, left=[]))
    hold(hub)
    first_word(directory)
    wait_until(lambda: True if (directory / "progress.json").exists() else None)
    events, standing = once(directory)
    assert [type(event) for event in events if not isinstance(event, Progress)][:1] == [HostStarted]
    assert len(of(Progress, events)) == 1
    assert standing.at_work
    assert standing.silent_seconds is not None
    assert standing.silent_seconds < PATIENCE
    assert {"run", "rank"} == {process.command.split(" shard ")[1].split()[0] for process in standing.left}


def test_only_the_latest_start_counts(directory: Path) -> None:
    """Events before the last start are left out, and progress of an earlier one; a torn line hides no start."""
    line = encode(STARTED)
    early = encode(Progress(
        host="localhost", units_done=0, units_failed=0, documents=0, tokens=0, text_bytes=0, retries=0, seconds=9.0,
        ranks=[],
    ))  # fmt: skip
    (directory / "progress.json").write_bytes(early)
    os.utime(directory / "progress.json", (1, 1))
    (directory / "supervisor.json").write_bytes(msgspec.json.encode(Process(pid=2**22 + 1, started=0, command="")))
    (directory / "events.jsonl").write_bytes(line + encode(DONE) + b'{"event":"unit_do' + line + b'{"event":"host_do')
    with following(directory) as follower:
        assert follower.end() == [STARTED]
    assert once(directory)[0] == [STARTED]


def test_one_that_stays_sees_the_next_start(job: Job, directory: Path) -> None:
    """With `--stay` a follower outlives supervisors, tells what the next one says, and ends when its reader leaves."""
    with following(directory, "--stay") as follower:
        for starts in (1, 2):
            first_word(directory)
            follower.wait_for(lambda events, starts=starts: len(of(HostDone, events)) == starts)
        follower.hang_up()
        events = follower.end()
    assert len(of(HostStarted, events)) == 2
    assert len(of(UnitDone, events)) == len(job.units)
