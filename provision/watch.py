"""The watcher of a run: reads what the hosts say, keeps it, shows it."""

import os
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, Literal, TextIO

import msgspec
from rich.console import Console

from provision.display import dashboard, live, plain_line
from provision.monitor import ClusterState
from provision.pdsh import LogLine, parse_line
from provision.rundir import RunDirectory
from shard.errors import DiskFullError
from shard.progress import AnyEvent, Progress

Style = Literal["live", "plain", "json"]

_DRAW_SECONDS = 0.5
_PLAIN_SECONDS = 10.0
_LEDGER_SECONDS = 2.0
_READ_BYTES = 1 << 16


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


def watch(run: RunDirectory, descriptor: int, output: TextIO, style: Style) -> None:
    """Fold lines from `descriptor` until all its writers are gone."""
    plan = run.read_plan()
    state = ClusterState(plan)
    ledger = run.read_ledger(plan.fingerprint)
    started = drawn = saved = now = time.monotonic()
    known = len(ledger)
    with ExitStack() as stack:
        events = stack.enter_context(run.events.open("ab+", buffering=0))
        show = _show(output, style, stack)

        def tell(text: str) -> None:
            line = LogLine(None, text)
            state.apply(line, now)
            show.line(state, line, _stamped(line))

        keep = _Keeper(events, tell)
        keep.write(_stamped(_Started(run_id=plan.run_id)))
        for line in _lines(descriptor):
            now = time.monotonic()
            if line is not None:
                event = parse_line(line)
                state.apply(event, now)
                kept = _stamped(event)
                if not isinstance(event, Progress):
                    keep.write(kept)
                show.line(state, event, kept)
            if now - drawn >= show.every:
                drawn = now
                show.draw(state, now - started)
            if now - saved >= _LEDGER_SECONDS and len(ledger | state.committed) != known:
                saved = now
                ledger |= state.committed
                known = len(ledger)
                with keep.going_on():
                    run.write_ledger(plan.fingerprint, ledger)
        with keep.going_on():
            run.write_ledger(plan.fingerprint, ledger | state.committed)
        show.draw(state, time.monotonic() - started)


def replay(run: RunDirectory) -> ClusterState:
    """What is known of the latest start of a run, from its events file."""
    state = ClusterState(run.read_plan())
    if not run.events.exists():
        return state
    with run.events.open(encoding="utf-8", errors="replace") as events:
        for line in events:
            try:
                found = msgspec.json.decode(line, type=_Kept)
            except msgspec.DecodeError:
                continue  # the last word of a watcher that was killed
            if found.event == "run_started":
                state = ClusterState(state.plan)
            elif found.event != "log":
                state.apply(parse_line(line), found.time)
    return state


class _Keeper:
    """Writes the events file.

    Without room for it the run goes on: a watcher that ended would take pdsh, and with it the hosts' work, along.
    """

    def __init__(self, file: BinaryIO, tell: Callable[[str], None]) -> None:
        self._file = file
        self._tell = tell
        self._told = False
        self._whole = False
        """Whether the file is known to end with a whole line."""

    def write(self, line: bytes) -> None:
        with self.going_on():
            if not self._whole:
                _end_line(self._file)
            self._whole = False
            self._whole = self._file.write(line) == len(line)  # the last bytes of a disk take part of a line

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Let what cannot be kept be lost, and tell it once."""
        try:
            yield
        except (OSError, DiskFullError) as error:
            if not self._told:
                self._told = True
                self._tell(f"events cannot be kept: {error}")


def _end_line(file: BinaryIO) -> None:
    """End the line that a killed watcher left without its end."""
    if file.seek(0, os.SEEK_END) > 0:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


def _stamped(event: AnyEvent | LogLine | _Started) -> bytes:
    record: object = _Log(host=event.host, text=event.text) if isinstance(event, LogLine) else event
    fields = msgspec.to_builtins(record)
    return msgspec.json.encode({"time": round(time.time(), 3), **fields}) + b"\n"


def _lines(descriptor: int) -> Iterator[str | None]:
    """Lines as they come; None when a while has passed without one."""
    os.set_blocking(descriptor, False)
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if not selector.select(_DRAW_SECONDS):
                yield None
                continue
            data = os.read(descriptor, _READ_BYTES)
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace")
            if not data:
                if pending:
                    yield pending.decode(errors="replace")
                return


class _Plain:
    """Messages as they come, and a line of figures now and then."""

    every = _PLAIN_SECONDS

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def line(self, state: ClusterState, event: AnyEvent | LogLine, kept: bytes) -> None:
        if state.messages:
            for message in state.messages:
                print_line(message, self._output)
            state.messages.clear()

    def draw(self, state: ClusterState, elapsed: float) -> None:
        print_line(plain_line(state, elapsed), self._output)


class _Json:
    """Events passed through."""

    every = float("inf")

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def line(self, state: ClusterState, event: AnyEvent | LogLine, kept: bytes) -> None:
        print_line(kept.decode().rstrip("\n"), self._output)

    def draw(self, state: ClusterState, elapsed: float) -> None:
        """Figures are in the events."""


class _Live:
    """A dashboard, redrawn in place."""

    every = _DRAW_SECONDS

    def __init__(self, output: TextIO, stack: ExitStack) -> None:
        self._output = output
        self._live = stack.enter_context(live(Console(file=output)))

    def line(self, state: ClusterState, event: AnyEvent | LogLine, kept: bytes) -> None:
        """Drawn with the next picture."""

    def draw(self, state: ClusterState, elapsed: float) -> None:
        with _perhaps_unread(self._output):
            self._live.update(dashboard(state, elapsed), refresh=True)


def _show(output: TextIO, style: Style, stack: ExitStack) -> _Plain | _Json | _Live:
    if style == "json":
        return _Json(output)
    return _Live(output, stack) if style == "live" else _Plain(output)


def print_line(text: str, output: TextIO) -> None:
    """Print, whether or not anyone reads any more: a run does not hang on its audience."""
    with _perhaps_unread(output):
        output.write(f"{text}\n")
        output.flush()


@contextmanager
def _perhaps_unread(output: TextIO) -> Iterator[None]:
    try:
        yield
    except OSError:
        # A pipe that nobody reads, a terminal that was closed; the events are in the file.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
