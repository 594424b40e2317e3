"""What this host's run has said since its latest start, for whoever joins later.

The supervisor knows nothing of it: all is read from the files in which it keeps what it says.
"""

import os
import select
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from shard.errors import JobError
from shard.host.claim import PID_FILE
from shard.host.stopping import left_of
from shard.processes import Process, is_alive
from shard.records.frozen import read_record

_LOOK_SECONDS = 0.5
_STARTED = b'{"event":"host_started"'


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How this host stands at the moment: the last line of `follow --once`."""

    at_work: bool
    """Whether its supervisor lives."""
    silent_seconds: float | None
    """Since the run last said anything here, by this host's clock; None when it never has."""
    left: list[Process]
    """Living processes of the run."""


def follow(job_directory: Path, output: int, hang_up: int, *, stay: bool) -> None:
    """Write events and progress since the latest start to `output`, and go on until the supervisor has ended.

    With `stay`, go on then, too: another may be started. Ends in any case when `hang_up` does, from which nothing is
    expected.
    """
    events = Growing(job_directory / "events.jsonl")
    progress = _Latest(job_directory)
    events.skip_to_latest_start()
    while True:
        # Asked first: when it has ended, all that it has said is there to be read.
        at_work = supervisor_at_work(job_directory)
        try:
            _write(output, events.new_lines())
            _write(output, progress.new_line())
        except ConnectionError:
            return  # nobody reads any more
        if (not at_work and not stay) or _ended(hang_up):
            return


def follow_once(job_directory: Path, output: int) -> None:
    """Write events and progress since the latest start, and a Standing."""
    events = Growing(job_directory / "events.jsonl")
    events.skip_to_latest_start()
    at_work, left = supervisor_at_work(job_directory), left_of(job_directory)
    _write(output, events.new_lines())
    _write(output, _Latest(job_directory).new_line())
    standing = Standing(at_work=at_work, silent_seconds=_silent_seconds(job_directory), left=left)
    _write(output, msgspec.json.encode(standing) + b"\n")


def supervisor_at_work(job_directory: Path) -> bool:
    """Whether the supervisor that last took the job lives."""
    try:
        return is_alive(read_record(job_directory / PID_FILE, Process))
    except JobError:
        return False  # none has taken it yet


class Growing:
    """A file of lines that is appended to, and may not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def skip_to_latest_start(self) -> None:
        """Leave out what was said before the last `host_started`."""
        # In the middle of a line, where a supervisor that was killed has not ended its last one.
        self._offset = max(0, self._read().rfind(_STARTED))

    def skip_to_end(self) -> None:
        self._offset = self._path.stat().st_size if self._path.exists() else 0

    def new_lines(self) -> bytes:
        """Whole lines that were not read yet."""
        data = self._read()
        data = data[: data.rfind(b"\n") + 1]
        self._offset += len(data)
        return data

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size == self._offset:
                    return b""
                file.seek(self._offset)
                return file.read()
        except FileNotFoundError:
            return b""


class _Latest:
    """The line in `progress.json`, when there is another one, of this start."""

    def __init__(self, job_directory: Path) -> None:
        self._path = job_directory / "progress.json"
        self._claim = job_directory / PID_FILE
        self._seen = 0

    def new_line(self) -> bytes:
        try:
            written, claimed = self._path.stat().st_mtime_ns, self._claim.stat().st_mtime_ns
            if written == self._seen or written < claimed:
                return b""
            self._seen = written
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""


def _write(output: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(output, view) :]


def _ended(descriptor: int) -> bool:
    """Whether it ends within a moment."""
    if not select.select([descriptor], [], [], _LOOK_SECONDS)[0]:
        return False
    try:
        return not os.read(descriptor, 4096)
    except OSError:  # a terminal that has gone away, a connection that was reset
        return True


def _silent_seconds(job_directory: Path) -> float | None:
    spoken = max(_written(job_directory), default=None)
    return None if spoken is None else round(max(0.0, time.time() - spoken), 1)


def _written(job_directory: Path) -> Iterator[float]:
    for name in ("events.jsonl", "progress.json"):
        try:
            yield (job_directory / name).stat().st_mtime
        except FileNotFoundError:
            continue
