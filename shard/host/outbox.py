"""Events on their way out: to a file on the host, where the truth lives, and to standard output, if anyone listens."""

import os
import queue
import select
import sys
import threading
from contextlib import suppress
from pathlib import Path

from shard.errors import DiskFullError
from shard.records.progress import AnyEvent, Progress, encode
from shard.storage.disk import open_private, write_atomic

_WAITING_MOST = 1000
_PROGRESS_MOST = _WAITING_MOST // 4
"""Lines waiting beyond which progress is left out: the rest of the room is for what is said only once."""


class Outbox:
    """Takes events without ever blocking or failing.

    Neither a cut network nor a full disk may keep a supervisor from stopping its ranks.
    """

    def __init__(self, job_directory: Path) -> None:
        self._directory = job_directory
        self._file = open_private(job_directory / "events.jsonl")
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_WAITING_MOST)
        self._thread = threading.Thread(target=self._drain, name="outbox", daemon=True)
        self._thread.start()

    def put(self, event: AnyEvent) -> None:
        line = encode(event)
        with suppress(OSError, DiskFullError):
            if isinstance(event, Progress):
                write_atomic(self._directory / "progress.json", line, mode=0o600, durable=False)
            else:
                self._file.write(line)
        if isinstance(event, Progress) and self._waiting.qsize() > _PROGRESS_MOST:
            return
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            return  # nobody has listened for long; the file has it

    def close(self, *, timeout: float = 3.0) -> None:
        """Let waiting lines out, for a while."""
        try:
            self._waiting.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)
        self._file.close()

    def _drain(self) -> None:
        while (line := self._waiting.get()) is not None:
            view = memoryview(line)
            while view:
                try:
                    view = view[os.write(sys.stdout.fileno(), view) :]
                except BlockingIOError:  # whoever shares the file may have set it so
                    select.select([], [sys.stdout], [])
                except OSError:
                    return  # the launcher is gone; whether to stop is not decided here
