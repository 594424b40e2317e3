"""A file object over spans that are fetched ahead of the reader, for pyarrow."""

import io
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from shard.errors import SourceReadError
from shard.source.spans import Span

Fetch = Callable[[int, int], bytes]
"""(start, end) → exactly those bytes of the file, or a SourceError."""


class SpanFile(io.RawIOBase):
    """Reads a remote file whose wanted spans are known beforehand.

    `prefetch` names the spans in the order of reading; a bounded number is in flight or waiting, each is dropped when
    the reader has passed it, so memory is flat. Reads outside the spans (the footer, before the spans are known) are
    fetched as asked.
    """

    def __init__(self, fetch: Fetch, size: int, *, in_flight: int) -> None:
        self._fetch = fetch
        self._size = size
        self._position = 0
        self._pool = ThreadPoolExecutor(in_flight, thread_name_prefix="span")
        self._in_flight = in_flight
        self._waiting: deque[Span] = deque()
        self._fetched: deque[tuple[Span, Future[bytes]]] = deque()
        self._tail: tuple[int, bytes] = (size, b"")
        self._abandoned: Future[bytes] = Future()

    def keep_tail(self, length: int) -> bytes:
        """Fetch the last `length` bytes once and serve reads of them from memory."""
        start = max(0, self._size - length)
        tail = self._fetch(start, self._size)
        _require_length(tail, Span(start, self._size))
        self._tail = (start, tail)
        return tail

    def prefetch(self, spans: Iterable[Span]) -> None:
        """Start fetching; the spans are read in this order. What `keep_tail` holds is not fetched again."""
        tail_start = self._tail[0]
        self._waiting.extend(Span(s.start, min(s.end, tail_start)) for s in spans if s.start < tail_start)
        self._top_up()

    def _top_up(self) -> None:
        while self._waiting and len(self._fetched) < self._in_flight:
            span = self._waiting.popleft()
            self._fetched.append((span, self._pool.submit(self._fetch, span.start, span.end)))

    def _drop_passed(self, position: int) -> None:
        while self._fetched and self._fetched[0][0].end <= position:
            self._fetched.popleft()
            self._top_up()

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
        ahead = next(((span, future) for span, future in self._fetched if position < span.end), None)
        if ahead is not None and ahead[0].start <= position:
            span, future = ahead
            data = self._awaited(future)
            _require_length(data, span)
            return (
                data if position == span.start and end >= span.end else data[position - span.start : end - span.start]
            )
        # In no span: the footer, or the gap before the next span, as left where chunks lie far apart.
        gap = Span(position, min(end, tail_start, ahead[0].start if ahead is not None else end))
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
        if not self.closed:
            self._waiting.clear()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._fetched.clear()
        super().close()


def _require_length(data: bytes, span: Span) -> None:
    if len(data) != len(span):
        raise SourceReadError(f"wanted bytes {span.start} to {span.end}, got {len(data)}")
