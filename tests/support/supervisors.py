"""Real supervisors in processes of their own: started, listened to, struck, and cleaned up after."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from shard.processes import Process, cookie, end_all, with_cookie
from shard.records.progress import AnyEvent, HostDone, decode

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds until a test takes what it waits for as never coming."""


class Supervisor:
    """`python -m shard run` for one job, its standard input held open as pdsh does."""

    def __init__(self, job_directory: Path) -> None:
        self.job_directory = job_directory
        self.cookie = cookie(job_directory.parent.name, job_directory.name)
        self.events: list[AnyEvent] = []
        self.other_lines: list[bytes] = []
        self._heard = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "shard", "run", "--job", str(job_directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = decode(line)
            with self._heard:
                if event is None:
                    self.other_lines.append(line)
                else:
                    self.events.append(event)
                self._heard.notify_all()
        with self._heard:
            self._heard.notify_all()

    def of(self, kind: type) -> list[AnyEvent]:
        """Events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until an event makes the condition true."""
        with self._heard:
            if not self._heard.wait_for(lambda: condition() or self.process.poll() is not None, PATIENCE):
                raise TimeoutError(f"only heard {self.events}")
            if not condition():
                self._heard.wait_for(condition, 20.0)
            assert condition(), self.events

    def hang_up(self) -> None:
        """Close standard input, as when the launcher or ssh dies."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> HostDone | None:
        """Wait until it has ended by itself. Returns its last word."""
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        done = self.of(HostDone)
        assert len(done) <= 1
        return done[0] if done else None  # type: ignore[return-value]

    def stderr(self) -> str:
        """What it wrote to standard error; call it when it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def ranks(self) -> list[Process]:
        """Living rank processes and whatever they started."""
        return with_cookie(self.cookie)

    def wait_for_ranks(self, count: int) -> list[Process]:
        """Wait until so many processes of the run live."""
        return wait_until(lambda: found if len(found := self.ranks()) >= count else None)


def wait_until(probe: Callable[[], T | None]) -> T:
    """Ask until there is an answer: for what announces itself to nobody, such as a process in /proc."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (found := probe()) is not None:
            return found
        time.sleep(0.01)
    raise TimeoutError


@contextmanager
def supervising(job_directory: Path) -> Iterator[Supervisor]:
    """Start a supervisor; whatever becomes of the test, nothing of the run is left."""
    supervisor = Supervisor(job_directory)
    try:
        yield supervisor
    finally:
        supervisor.process.kill()
        supervisor.process.wait()
        for stream in (supervisor.process.stdin, supervisor.process.stdout, supervisor.process.stderr):
            if stream is not None:
                stream.close()
        assert end_all(supervisor.cookie, grace_seconds=0.0) == []


def kill(process: Process, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return
