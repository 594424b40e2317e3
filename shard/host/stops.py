"""What ends a host's run early: the launcher gone, a signal, silence."""

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from shard.errors import JobError
from shard.records.options import Options

NOW_SIGNAL = signal.SIGUSR1
"""Stop without grace."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Stop:
    """Why, and whether the ranks get a grace."""

    reason: str
    now: bool = False


class StopWatch:
    """Puts every reason to stop into one queue: the first starts the stopping, later ones can hasten it."""

    def __init__(self, lease: Path, options: Options) -> None:
        self.stops: asyncio.Queue[Stop] = asyncio.Queue()
        self.left_alone = asyncio.Event()
        """The launcher is gone, and this host goes on without it."""
        self._lease = lease
        self._heed_launcher = options.on_disconnect == "stop"
        self._lease_seconds = options.lease_seconds

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch. Raises JobError when standard input is nothing that can end."""
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.stops.put_nowait, Stop(signal.Signals(number).name))
        loop.add_signal_handler(NOW_SIGNAL, self.stops.put_nowait, Stop("told to stop now", now=True))
        try:
            loop.add_reader(sys.stdin.fileno(), self._on_stdin, loop)
        except (OSError, ValueError, AttributeError) as error:  # a file, /dev/null, or closed
            if not self._heed_launcher:
                self.left_alone.set()
                return
            raise JobError(
                "standard input is closed or a file: it must stay open as long as the launcher lives, as a pipe does"
            ) from error

    async def watch_lease(self) -> None:
        """Return never, or when the launcher has been silent for too long."""
        seen, heard = 0.0, time.monotonic()
        while self._lease_seconds is not None:
            await asyncio.sleep(min(1.0, self._lease_seconds / 4))
            try:
                renewed = self._lease.stat().st_mtime
            except OSError:
                renewed = seen  # none yet, or out of reach: not renewed
            # Only that it changed counts: the clocks of two machines are not compared.
            if renewed != seen:
                seen, heard = renewed, time.monotonic()
            if time.monotonic() - heard > self._lease_seconds:
                self._launcher_gone(f"not heard from the launcher for {self._lease_seconds:.0f} s")
                return

    def _on_stdin(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            heard = os.read(sys.stdin.fileno(), 4096)
        except BlockingIOError:
            return
        except OSError:  # a terminal that has gone away, a connection that was reset
            heard = b""
        if not heard:
            loop.remove_reader(sys.stdin.fileno())
            self._launcher_gone("the launcher is gone")

    def _launcher_gone(self, reason: str) -> None:
        if self._heed_launcher:
            self.stops.put_nowait(Stop(reason))
        else:
            self.left_alone.set()
