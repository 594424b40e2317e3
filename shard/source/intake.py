"""What a rank keeps from unit to unit: its connections, its requests, and the next unit, opened ahead."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx2

from shard.records.options import Options
from shard.records.unit import Unit
from shard.source.hub import connections
from shard.source.spanqueue import SpanQueue

log = logging.getLogger(__name__)

Opener = Callable[[Unit, ExitStack], Any]
"""Opens a unit; what must be closed goes on the stack."""


@dataclass
class _Ahead:
    """A unit that is being opened, or has been, before it is asked for."""

    unit: Unit
    opened: Future[tuple[Any, ExitStack]] = field(default_factory=Future)


def _any_rate(size: int) -> None:
    """No limit."""


class Intake:
    """See the module. The rank's thread calls it; the unit ahead is opened in a thread of its own.

    Of the next unit only its footer is asked for before all of the present one has been: its spans stand behind in the
    queue, so it never delays that, and the line is never idle between two files.
    """

    def __init__(self, options: Options, pace: Callable[[int], None] = _any_rate) -> None:
        self.queue = SpanQueue(options.spans_in_flight)
        self.pace = pace
        self.tail: tuple[str, bytes] | None = None
        """The end of the file that was opened last, by path: its other parts have the same footer."""
        self._options = options
        self._client: httpx2.Client | None = None
        self._lock = threading.Lock()
        self._ahead: _Ahead | None = None

    @property
    def client(self) -> httpx2.Client:
        with self._lock:
            if self._client is None:
                self._client = connections(self._options)
            return self._client

    def claim(self, unit: Unit) -> tuple[Any, ExitStack] | None:
        """What was opened ahead, if it is this unit; another is closed. Raises what opening it raised."""
        with self._lock:
            ahead, self._ahead = self._ahead, None
        if ahead is None:
            return None
        if ahead.unit == unit:
            return ahead.opened.result()
        log.info("unit %d was opened ahead in vain", ahead.unit.ordinal)
        ahead.opened.add_done_callback(_close)
        return None

    def follow_with(self, unit: Unit, opener: Opener) -> None:
        """The present unit is open, and its spans are asked for: after it, this one will probably be wanted."""
        ahead = _Ahead(unit)
        with self._lock:
            self._ahead = ahead
        threading.Thread(target=_open, args=(ahead, opener), name="open-ahead", daemon=True).start()

    def close(self) -> None:
        """Close what was opened ahead, and all connections."""
        with self._lock:
            ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.opened.add_done_callback(_close)
        self.queue.close()
        if self._client is not None:
            self._client.close()


def _open(ahead: _Ahead, opener: Opener) -> None:
    with ExitStack() as stack:
        try:
            opened = opener(ahead.unit, stack)
        except BaseException as error:  # noqa: BLE001  raised again in whoever claims the unit
            ahead.opened.set_exception(error)
            return
        ahead.opened.set_result((opened, stack.pop_all()))


def _close(opened: Future[tuple[Any, ExitStack]]) -> None:
    if opened.exception() is None:
        opened.result()[1].close()
