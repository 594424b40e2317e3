"""A file object over spans that are fetched ahead of the reader, for pyarrow."""

import io
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

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

    def keep_tail(self, length: int) -> bytes:
        """Fetch the last `length` bytes once and serve reads of them from memory."""
        start = max(0, self._size - length)
        self._tail = (start, self._fetch(start, self._size))
        return self._tail[1]

    def prefetch(self, spans: Iterable[Span]) -> None:
        """Start fetching; the spans are read in this order."""
        self._waiting.extend(spans)
        self._top_up()

    def _top_up(self) -> None:
        while self._waiting and len(self._fetched) < self._in_flight:
            span = self._waiting.popleft()
            self._fetched.append((span, self._pool.submit(self._fetch, span.start, span.end)))

    def _read_range(self, start: int, end: int) -> bytes:
        tail_start, tail = self._tail
        if start >= tail_start:
            return tail[start - tail_start : end - tail_start]
        while self._fetched and self._fetched[0][0].end <= start:
            self._fetched.popleft()
            self._top_up()
        pieces: list[bytes] = []
        position = start
        while position < end:
            found = next(((s, f) for s, f in self._fetched if s.start <= position < s.end), None)
            if found is None:
                if self._fetched and position < self._fetched[0][0].start < end:
                    # A gap before the next span, as left where chunks lie far apart.
                    end_of_gap = self._fetched[0][0].start
                    pieces.append(self._fetch(position, end_of_gap))
                    position = end_of_gap
                    continue
                pieces.append(self._fetch(position, end))
                break
            span, future = found
            data = future.result()
            stop = min(end, span.end)
            pieces.append(data[position - span.start : stop - span.start] if stop - position < len(span) else data)
            position = stop
            if position == span.end and span is self._fetched[0][0]:
                self._fetched.popleft()
                self._top_up()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._size, self._position + size)
        if end <= self._position:
            return b""
        data = self._read_range(self._position, end)
        if len(data) != end - self._position:
            raise SourceReadError(f"wanted bytes {self._position} to {end}, got {len(data)}")
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
