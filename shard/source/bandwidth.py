"""A limit on what all ranks of a host take in together: a clock in a file that they share.

The clock is the virtual schedule of the generic cell rate algorithm (ITU-T I.371): it says when the line is free again
of what has been let through. Whoever takes bytes moves it on; who takes none leaves the whole rate to the others.
"""

import fcntl
import os
import struct
import threading
import time
from pathlib import Path

FILE = "bandwidth"
_NANOSECOND = 1e-9
_CLOCK = struct.Struct("<q")
_BURST_SECONDS = 0.25
"""What was not used so long ago is forgotten."""


class SharedRate:
    """`take(n)` returns when the host may take in `n` bytes. Safe in threads and processes."""

    def __init__(self, path: Path, bytes_per_second: float) -> None:
        """`path` is the same for all processes of the host; made if need be."""
        self._seconds_per_byte = 1 / bytes_per_second
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._lock = threading.Lock()  # a process does not lock a file against itself

    def take(self, size: int) -> None:
        wait = self._book(size)
        if wait > 0:
            time.sleep(wait)

    def _book(self, size: int) -> float:
        """Move the clock on. Returns the seconds until it was that far."""
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                now = time.monotonic()  # the same in all processes of a machine, since its start
                stored = os.pread(self._file, _CLOCK.size, 0)
                free = _CLOCK.unpack(stored)[0] * _NANOSECOND if len(stored) == _CLOCK.size else now
                free = max(free, now - _BURST_SECONDS)
                # Left from before the machine was started again.
                free = free if free < now + _LONGEST_SECONDS else now
                os.pwrite(self._file, _CLOCK.pack(int((free + size * self._seconds_per_byte) / _NANOSECOND)), 0)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
        return free - now

    def close(self) -> None:
        os.close(self._file)


_LONGEST_SECONDS = 3600.0
"""No schedule reaches farther: every thread books one read, and waits."""
