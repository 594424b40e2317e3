"""The processes that descend from others, and their memory together, read from /proc.

While it measures, the measuring process adopts orphans (it is their "subreaper"), so the children of a fork server, and
what outlives its parent, are found too.
"""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_SET_CHILD_SUBREAPER = 36
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TURN_SECONDS = 0.1
_SHARE = 0.004
"""Of a processor: what resident sizes may cost, and proportional sizes once more."""
_CREDIT_SECONDS = 0.02
"""What proportional sizes may cost before their share has grown to anything."""


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """Inside, a descendant whose parent has ended becomes this process's child."""
    _subreaper(1)
    try:
        yield
    finally:
        _subreaper(0)


def _subreaper(on: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, on, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl PR_SET_CHILD_SUBREAPER")


def children(pid: int) -> set[int]:
    """The children of all threads of a process; none when it has ended."""
    found: set[int] = set()
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found.update(map(int, (thread / "children").read_text().split()))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended while it was read
    return found


def descendants(pids: Iterable[int]) -> set[int]:
    """These processes and all that descend from them."""
    found: set[int] = set()
    left = list(pids)
    while left:
        pid = left.pop()
        if pid not in found:
            found.add(pid)
            left += children(pid)
    return found


@dataclass(frozen=True)
class Footprint:
    """Of several processes at one moment."""

    resident: Mapping[int, int]
    """Bytes of the resident set, by process; what processes share is in each."""
    cpu_ticks: int
    """User and system, their own."""


def footprint(pids: Iterable[int]) -> Footprint:
    """What costs little to read: some microseconds a process."""
    resident, ticks = {}, 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # Counted from the state, which is field 3: utime and stime are 14 and 15, rss is 24.
        ticks += int(fields[11]) + int(fields[12])
        resident[pid] = int(fields[21]) * _PAGE
    return Footprint(resident, ticks)


def proportional(pids: Iterable[int]) -> int:
    """Bytes: proportional sets added up, so a page that is shared counts once. Costs 0.1 s for every GB."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


@dataclass(frozen=True)
class Patience:
    """When processes are taken to hang."""

    seconds: float
    """In all."""
    idle_seconds: float
    """Without the smallest unit of processor time used by any of them."""


@dataclass(eq=False)
class Watch(threading.Thread):
    """Looks at this process's descendants until it is told to stop, and ends them when they hang.

    The proportional size is read as often as its share of a processor allows, and when it can be larger than before. In
    between, the resident size less what was shared at the latest reading stands for it, of the processes that were
    there then: how much a new one shares is not known.
    """

    others: frozenset[int]
    """Children of this process that are not to be watched, nor what descends from them."""
    patience: Patience | None = None
    peak_bytes: int = 0
    hung: str | None = None
    """Why everything was killed."""
    _over: threading.Event = field(default_factory=threading.Event)
    _spent: float = 0.0
    """Seconds of processor time on proportional sizes."""
    _known: frozenset[int] = frozenset()
    """Processes of the latest of them."""
    _shared: int = 0
    """Bytes that resident sizes had counted more than once then."""

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def run(self) -> None:
        started = moved = time.monotonic()
        ticks = -1
        while not self._over.is_set():
            began = time.thread_time()
            pids = self.pids()
            now, seen = time.monotonic(), footprint(pids)
            pause = (time.thread_time() - began) / _SHARE
            self._account(seen.resident, now - started)
            if seen.cpu_ticks != ticks:
                ticks, moved = seen.cpu_ticks, now
            if self.patience is not None:
                if now - moved > self.patience.idle_seconds:
                    self.hung = f"no processor time used for {now - moved:.0f} s"
                elif now - started > self.patience.seconds:
                    self.hung = f"not done after {now - started:.0f} s"
                if self.hung:
                    kill(self.pids())
                    return
            self._over.wait(max(_TURN_SECONDS, pause))

    def _account(self, resident: Mapping[int, int], elapsed: float) -> None:
        largest = sum(resident.values())
        if largest <= self.peak_bytes:
            return
        if self._spent < _CREDIT_SECONDS + _SHARE * elapsed:
            began = time.thread_time()
            size = min(proportional(resident), largest)
            self._spent += time.thread_time() - began
            self._known, self._shared = frozenset(resident), largest - size
        else:
            size = sum(resident.get(pid, 0) for pid in self._known) - self._shared
        self.peak_bytes = max(self.peak_bytes, size)

    def stop(self) -> None:
        self._over.set()
        self.join()

    def pids(self) -> set[int]:
        """What is watched and alive, what this process has adopted among it. Only our own: an id may be used again."""
        return descendants(children(os.getpid()) - self.others)


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
