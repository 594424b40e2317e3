"""The ways to show a run: a dashboard, lines, or events as JSON."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal, Protocol, TextIO

from rich.console import Console

from provision.run.display import dashboard, live, plain_line
from provision.run.monitor import ClusterState

Style = Literal["live", "plain", "json"]

_DRAW_SECONDS = 0.5
_DRAW_SHARE = 0.015
"""Of a core that pictures may take: of many hosts on a tall terminal they come less often."""
_PLAIN_SECONDS = 10.0


class Show(Protocol):
    """What becomes of events, and of the state now and then."""

    every: float
    """Seconds between two drawings."""

    def line(self, state: ClusterState, kept: bytes) -> None:
        """An event has been taken in; `kept` is its line of JSON."""
        ...

    def draw(self, state: ClusterState, elapsed: float) -> None: ...


def show_as(style: Style, output: TextIO, stack: ExitStack, *, ctrl_c: str = "stops every host") -> Show:
    """The show of a style; what it opens is closed with the stack. `ctrl_c` is what that does, where it is shown."""
    if style == "json":
        return _Json(output)
    return _Live(output, stack, ctrl_c) if style == "live" else _Plain(output)


def print_line(text: str, output: TextIO) -> None:
    """Print, whether or not anyone reads any more: a run does not hang on its audience."""
    with _perhaps_unread(output):
        output.write(f"{text}\n")
        output.flush()


class _Plain:
    """Messages as they come, and a line of figures now and then."""

    every = _PLAIN_SECONDS

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def line(self, state: ClusterState, kept: bytes) -> None:
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

    def line(self, state: ClusterState, kept: bytes) -> None:
        print_line(kept.decode().rstrip("\n"), self._output)

    def draw(self, state: ClusterState, elapsed: float) -> None:
        """Figures are in the events."""


class _Live:
    """A dashboard, redrawn in place."""

    def __init__(self, output: TextIO, stack: ExitStack, ctrl_c: str) -> None:
        self.every = _DRAW_SECONDS
        self._output = output
        self._ctrl_c = ctrl_c
        self._live = stack.enter_context(live(Console(file=output)))

    def line(self, state: ClusterState, kept: bytes) -> None:
        """Drawn with the next picture."""

    def draw(self, state: ClusterState, elapsed: float) -> None:
        began = time.thread_time()
        with _perhaps_unread(self._output):
            self._live.update(dashboard(state, elapsed, ctrl_c=self._ctrl_c), refresh=True)
        self.every = max(_DRAW_SECONDS, (time.thread_time() - began) / _DRAW_SHARE)


@contextmanager
def _perhaps_unread(output: TextIO) -> Iterator[None]:
    try:
        yield
    except OSError:
        # A pipe that nobody reads, a terminal that was closed; the events are in the file.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
