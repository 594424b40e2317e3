"""Whoever opens a file is held there, as by a disk that does not answer, until let go: a lease of the kernel."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PATIENCE = 60.0


class Held:
    """A file that nobody else has open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        # The signal that tells the holder is one that is ignored: SIGIO would end this process.
        fcntl.fcntl(self._descriptor, fcntl.F_SETSIG, signal.SIGURG)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            os.close(self._descriptor)
            pytest.skip(f"{path}: its file system knows no leases: {error.strerror}")

    def reached(self) -> bool:
        """Whether somebody waits to open it."""
        return fcntl.fcntl(self._descriptor, fcntl.F_GETLEASE) != fcntl.F_WRLCK

    def wait(self) -> None:
        """Until somebody does. The kernel lets go by itself after 45 seconds more."""
        deadline = time.monotonic() + _PATIENCE
        while not self.reached():
            assert time.monotonic() < deadline, f"nobody has opened {self._path}"
            time.sleep(0.005)

    def let_go(self) -> None:
        """Who waits goes on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextmanager
def held(path: Path) -> Iterator[Held]:
    """Hold whoever opens this file; let go at the end at the latest."""
    hold = Held(path)
    try:
        yield hold
    finally:
        hold.let_go()
