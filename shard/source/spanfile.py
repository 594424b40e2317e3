"""A file object over spans that are fetched ahead of the reader, for pyarrow."""

import io
from collections import deque
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait

from shard.errors import SourceReadError
from shard.source.spanqueue import Fetch, SpanQueue, Ticket
from shard.source.spans import Span


class SpanFile(io.RawIOBase):
    """Reads a remote file whose wanted spans are known beforehand.

    `prefetch` names the spans in the order of reading; each is dropped when the reader has passed it. Reads outside the
    spans (the footer, before the spans are known) are fetched as asked.
    """

    def __init__(self, fetch: Fetch, size: int, queue: SpanQueue | None = None) -> None:
        """Without a queue, what is only looked into: nothing is fetched ahead."""
        self._fetch = fetch
        self._size = size
        self._queue = queue
        self._position = 0
        self._ahead: deque[Ticket] = deque()
        self._tail: tuple[int, bytes] = (size, b"")
        self._abandoned: Future[bytes] = Future()

    def keep_tail(self, length: int, known: bytes = b"") -> bytes:
        """Hold the last `length` bytes in memory, and serve reads of them from there. Returns them.

        What of them is held already, or known from elsewhere, is not fetched again.
        """
        held_start, held = self._tail
        if len(known) > len(held):
            held_start, held = self._size - len(known), known
        start = max(0, self._size - length)
        if start < held_start:
            more = self._fetch(start, held_start)
            _require_length(more, Span(start, held_start))
            held_start, held = start, more + held
        self._tail = (held_start, held)
        return held

    def prefetch(self, spans: Iterable[Span]) -> None:
        """Start fetching; the spans are read in this order. What `keep_tail` holds is not fetched again."""
        tail_start = self._tail[0]
        wanted = [Span(span.start, min(span.end, tail_start)) for span in spans if span.start < tail_start]
        if self._queue is not None:
            self._ahead.extend(self._queue.put(wanted, self._fetch))

    def _drop_passed(self, position: int) -> None:
        passed = []
        while self._ahead and self._ahead[0].span.end <= position:
            passed.append(self._ahead.popleft())
        if self._queue is not None and passed:
            self._queue.give_back(passed)

    def _read_range(self, start: int, end: int) -> bytes:
        pieces: list[bytes] = []
        position = start
        while position < end:
            self._drop_passed(position)
            pieces.append(self._piece(position, end))
            position += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, position: int, end: int) -> bytes:
        """Some bytes from `position` on, at least one and none past `end`."""
        tail_start, tail = self._tail
        if position >= tail_start:
            return tail[position - tail_start : end - tail_start]
        ahead = next((ticket for ticket in self._ahead if position < ticket.span.end), None)
        if ahead is not None and ahead.span.start <= position:
            span, data = ahead.span, self._awaited(ahead.data)
            _require_length(data, span)
            return (
                data if position == span.start and end >= span.end else data[position - span.start : end - span.start]
            )
        # In no span: the footer, or the gap before the next span, as left where chunks lie far apart.
        gap = Span(position, min(end, tail_start, ahead.span.start if ahead is not None else end))
        data = self._fetch(gap.start, gap.end)
        _require_length(data, gap)
        return data

    def _awaited(self, future: Future[bytes]) -> bytes:
        wait((future, self._abandoned), return_when=FIRST_COMPLETED)
        return future.result() if future.done() else self._abandoned.result()

    def abandon(self) -> None:
        """Let reads that wait for a span, now or later, raise SourceReadError at once; from any thread.

        A fetch may hang for as long as the Hub is waited for: too long for whoever only wants to end.
        """
        if not self._abandoned.done():
            self._abandoned.set_exception(SourceReadError("abandoned: nobody wants the bytes any more"))

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._size, self._position + size)
        if end <= self._position:
            return b""
        data = self._read_range(self._position, end)
        self._position = end
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def size(self) -> int:
        return self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if self._queue is not None:
            self._queue.give_back(self._ahead)
            self._ahead.clear()
        super().close()


def _require_length(data: bytes, span: Span) -> None:
    if len(data) != len(span):
        raise SourceReadError(f"wanted bytes {span.start} to {span.end}, got {len(data)}")
