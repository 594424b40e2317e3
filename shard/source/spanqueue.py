"""The requests of one rank: spans of one file after another, fetched in the order in which they are read."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from shard.source.spans import Span, cut
from shard.source.window import Window

Fetch = Callable[[int, int], bytes]
"""(start, end) → exactly those bytes of the file, or a SourceError."""

HELD_BYTES = 48 << 20
"""Under way or waiting for the reader, at most: four tenths of a second of a gigabit. It bounds a rank's memory."""


class Ticket:
    """A span that has been asked for."""

    def __init__(self, span: Span, fetch: Fetch) -> None:
        self.span = span
        self.fetch = fetch
        self.data: Future[bytes] = Future()
        self.begun = False
        self.under_way = False
        self.given_back = False


class SpanQueue:
    """First come, first served: what is read later never delays what is read sooner. Thread-safe.

    A ticket counts until it is given back, so that memory is flat however slow the reader is.
    """

    def __init__(self, most_requests: int, *, held_bytes: int = HELD_BYTES) -> None:
        self._window = Window(most_requests, now=time.monotonic())
        self._held_bytes = held_bytes
        self._lock = threading.Lock()
        self._waiting: deque[Ticket] = deque()
        self._under_way = 0
        self._held = 0
        # More threads than requests: a fetch that was given back while it hangs keeps its thread for a while.
        self._pool = ThreadPoolExecutor(4 * most_requests, thread_name_prefix="span")
        self._closed = False

    def put(self, spans: Iterable[Span], fetch: Fetch) -> deque[Ticket]:
        """Ask for spans, cut to a size that suits the line."""
        tickets = deque(Ticket(span, fetch) for span in cut(spans, size=self._window.span_bytes))
        with self._lock:
            self._waiting.extend(tickets)
        self._start_what_may()
        return tickets

    def give_back(self, tickets: Iterable[Ticket]) -> None:
        """Their bytes have been read, or nobody wants them any more."""
        with self._lock:
            for ticket in tickets:
                if ticket.given_back:
                    continue
                ticket.given_back = True
                if ticket.begun:
                    self._held -= len(ticket.span)
                    self._under_way -= ticket.under_way
                    ticket.under_way = False
        self._start_what_may()

    def close(self) -> None:
        """Begin nothing more. What is under way ends by itself."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start_what_may(self) -> None:
        with self._lock:
            while not self._closed and self._waiting:
                if self._waiting[0].given_back:
                    self._waiting.popleft()
                    continue
                size = len(self._waiting[0].span)
                if self._under_way >= self._window.requests:
                    break
                if self._held and self._held + size > self._held_bytes:
                    self._window.interrupted(time.monotonic())
                    break
                ticket = self._waiting.popleft()
                ticket.begun = ticket.under_way = True
                self._under_way += 1
                self._held += size
                self._pool.submit(self._fetch, ticket)
            if not self._waiting:
                self._window.interrupted(time.monotonic())

    def _fetch(self, ticket: Ticket) -> None:
        if ticket.given_back:
            return
        error: BaseException | None = None
        data = b""
        try:
            data = ticket.fetch(ticket.span.start, ticket.span.end)
        except BaseException as caught:  # noqa: BLE001  raised again in the reader
            error = caught
        with self._lock:
            self._under_way -= ticket.under_way
            ticket.under_way = False
            self._window.arrived(len(data), time.monotonic())
        # Before the reader may run: what it waits for next has begun.
        self._start_what_may()
        if error is None:
            ticket.data.set_result(data)
        else:
            ticket.data.set_exception(error)
