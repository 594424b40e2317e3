"""Files that grow while a run is on: its events, its ledger."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from provision.plan.ledger import Entry, Ledger, encode_entry, read_ledger, write_ledger
from provision.plan.rundir import RunDirectory
from provision.reach.pdsh import LogLine
from provision.run.monitor import ClusterState
from shard.errors import DiskFullError
from shard.records.progress import AnyEvent, Progress, UnitDone, UnitsKept, decode


class _Log(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="log"):
    """A line of output that is no event, as kept and passed on."""

    host: str | None
    text: str


class _Started(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="run_started"):
    """A start of the launcher."""

    run_id: str


class _Kept(msgspec.Struct, frozen=True):
    """What every line of the events file has."""

    time: float
    event: str


class Keeper:
    """Keeps what hosts say, and which units they have committed.

    Without room for it the run goes on: a watcher that ended would take pdsh, and with it the hosts' work, along.
    """

    def __init__(self, run: RunDirectory, fingerprint: str, tell: Callable[[str], None], stack: ExitStack) -> None:
        """`tell` is called once when something cannot be kept; what is opened is closed with the stack."""
        self._tell = tell
        self._told = False
        self.ledger: Ledger = read_ledger(run.ledger, fingerprint)
        with self._going_on():
            write_ledger(run.ledger, fingerprint, self.ledger)
        self._events = _Lines(run.events, stack)
        self._commits = _Lines(run.ledger, stack)

    def start(self, run_id: str) -> None:
        """A start of the launcher: what follows is of this one."""
        with self._going_on():
            self._events.write(_stamped(_Started(run_id=run_id)))

    def keep(self, event: AnyEvent | LogLine) -> bytes:
        """Keep an event; returns its line of JSON."""
        line = stamped(event)
        if not isinstance(event, Progress):
            with self._going_on():
                self._events.write(line)
        return line

    def commit(self, event: AnyEvent | LogLine, state: ClusterState) -> None:
        """Add what an event, taken in by the state before, says is committed."""
        if not isinstance(event, UnitDone | UnitsKept):
            return
        for counts in event.units if isinstance(event, UnitsKept) else (event.counts,):
            entry = Entry(event.host, counts)
            if state.committed.get(counts.unit) == event.host and self.ledger.get(counts.unit) != entry:
                self.ledger[counts.unit] = entry
                with self._going_on():
                    self._commits.write(encode_entry(entry))

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Let what cannot be kept be lost, and tell it once."""
        try:
            yield
        except (OSError, DiskFullError) as error:
            if not self._told:
                self._told = True
                self._tell(f"events cannot be kept: {error}")


def replay(run: RunDirectory) -> ClusterState:
    """What is known of the latest start of a run, from its events file."""
    plan = run.read_plan()
    state = ClusterState(plan, read_ledger(run.ledger, plan.fingerprint))
    for told, event in since_start(run):
        state.apply(event, told)
    return state


def since_start(run: RunDirectory) -> list[tuple[float, AnyEvent]]:
    """(seconds since 1970, event) of the latest start of a run, from its events file."""
    return KeptEvents(run).new()


class KeptEvents:
    """The events file of a run, as it grows."""

    def __init__(self, run: RunDirectory) -> None:
        self._path = run.events
        self._offset = 0

    def new(self) -> list[tuple[float, AnyEvent]]:
        """(seconds since 1970, event) kept since the last call; of the latest start only."""
        found: list[tuple[float, AnyEvent]] = []
        for line in self._new_lines():
            try:
                kept = msgspec.json.decode(line, type=_Kept)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # the last word of a watcher that was killed
            if kept.event == "run_started":
                found.clear()
            elif kept.event != "log" and (event := decode(line)) is not None:
                found.append((kept.time, event))
        return found

    def _new_lines(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        data = data[: data.rfind(b"\n") + 1]
        self._offset += len(data)
        return data.splitlines()


def stamped(event: AnyEvent | LogLine) -> bytes:
    """An event as a line of JSON with its time."""
    return _stamped(_Log(host=event.host, text=event.text) if isinstance(event, LogLine) else event)


def _stamped(record: object) -> bytes:
    fields = msgspec.to_builtins(record)
    return msgspec.json.encode({"time": round(time.time(), 3), **fields}) + b"\n"


class _Lines:
    """A file that is appended to in whole lines."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._file = stack.enter_context(path.open("ab+", buffering=0))
        self._whole = False
        """Whether the file is known to end with a whole line."""

    def write(self, line: bytes) -> None:
        """Raises OSError when there is no room."""
        if not self._whole:
            self._end_line()
        self._whole = False
        self._whole = self._file.write(line) == len(line)  # the last bytes of a disk take part of a line

    def _end_line(self) -> None:
        """End the line that a killed watcher left without its end."""
        if self._file.seek(0, os.SEEK_END) > 0:
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")
