"""shard/source/spanfile.py"""

import io
import random
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shard.errors import SourceReadError
from shard.source.spanfile import SpanFile
from shard.source.spanqueue import SpanQueue
from shard.source.spans import Span

CONTENT = random.Random(0).randbytes(4000)


class Remote:
    """A remote file that keeps account of what is asked of it."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.requests: list[tuple[int, int]] = []
        self.unread = 0
        self.most_unread = 0
        self._lock = threading.Lock()

    def fetch(self, start: int, end: int) -> bytes:
        with self._lock:
            self.requests.append((start, end))
            self.unread += 1
            self.most_unread = max(self.most_unread, self.unread)
        return self.content[start:end]


def spans_of(bounds: list[int]) -> list[Span]:
    """Every other stretch between sorted bounds."""
    return [Span(*pair) for pair in zip(bounds[::2], bounds[1::2], strict=False)]


@settings(deadline=None)
@given(
    bounds=st.lists(st.integers(0, len(CONTENT)), unique=True).map(sorted),
    tail=st.integers(0, len(CONTENT) + 10),
    in_flight=st.integers(1, 4),
    reads=st.lists(st.tuples(st.integers(0, len(CONTENT) + 5), st.integers(-1, 600)), max_size=30),
)
def test_reads_equal_the_plain_file(bounds: list[int], tail: int, in_flight: int, reads: list[tuple[int, int]]) -> None:
    """Whatever the spans and the tail kept, reads at any place, in any order, give what the plain file gives."""
    plain = io.BytesIO(CONTENT)
    with SpanFile(Remote().fetch, len(CONTENT), SpanQueue(in_flight)) as file:
        file.keep_tail(tail)
        file.prefetch(spans_of(bounds))
        for start, length in reads:
            assert plain.seek(start) == file.seek(start)
            assert plain.read(length) == file.read(length)
            assert plain.tell() == file.tell() or start > len(CONTENT)


@given(st.lists(st.integers(0, 3000), unique=True, min_size=2).map(sorted), st.integers(1, 700))
def test_reading_in_order_fetches_every_span_once(bounds: list[int], step: int) -> None:
    """A reader that goes through the spans in order, in steps of any size, asks for each span once and nothing else."""
    remote = Remote()
    spans = spans_of(bounds)
    with SpanFile(remote.fetch, len(CONTENT), SpanQueue(3)) as file:
        file.prefetch(spans)
        for span in spans:
            for position in range(span.start, span.end, step):
                file.seek(position)
                stop = min(position + step, span.end)
                assert CONTENT[position:stop] == file.read(stop - position)
    assert [(span.start, span.end) for span in spans] == sorted(remote.requests)


def test_no_more_bytes_than_are_held() -> None:
    """However slow the reader, never more than `held_bytes` are under way or fetched and not yet passed."""
    remote = Remote()
    spans = [Span(start, start + 100) for start in range(0, 4000, 100)]
    with SpanFile(remote.fetch, len(CONTENT), SpanQueue(8, held_bytes=450)) as file:
        file.prefetch(spans)
        for span in spans:
            file.seek(span.start)
            assert remote.unread <= 4
            file.read(100)
            with remote._lock:
                remote.unread -= 1
    assert remote.most_unread <= 4
    assert len(spans) == len(remote.requests)


def test_the_tail_is_fetched_once() -> None:
    """Bytes that `keep_tail` holds are neither prefetched nor fetched again, even when a span or a read reaches into
    them."""
    remote = Remote()
    with SpanFile(remote.fetch, len(CONTENT), SpanQueue(2)) as file:
        file.keep_tail(1000)
        file.prefetch([Span(2500, 3500), Span(3600, 3700)])
        file.seek(2400)
        assert CONTENT[2400:] == file.read()
    assert sorted(remote.requests) == [(2400, 2500), (2500, 3000), (3000, 4000)]


def test_gaps_are_fetched_as_asked() -> None:
    """A read that begins before a span and ends after it fetches just the two gaps besides."""
    remote = Remote()
    with SpanFile(remote.fetch, len(CONTENT), SpanQueue(2)) as file:
        file.prefetch([Span(100, 200), Span(300, 400)])
        file.seek(50)
        assert CONTENT[50:450] == file.read(400)
    assert sorted(remote.requests) == [(50, 100), (100, 200), (200, 300), (300, 400), (400, 450)]


@pytest.mark.parametrize("prefetch", [True, False])
def test_an_error_strikes_the_reader(prefetch: bool) -> None:
    """An error of the fetch is raised by the read that wanted the bytes, and by no earlier one."""

    def fetch(start: int, end: int) -> bytes:
        if end > 200:
            raise SourceReadError("out of reach")
        return CONTENT[start:end]

    with SpanFile(fetch, len(CONTENT), SpanQueue(4)) as file:
        if prefetch:
            file.prefetch([Span(0, 200), Span(200, 400)])
        assert CONTENT[:200] == file.read(200)
        with pytest.raises(SourceReadError, match="out of reach"):
            file.read(10_000)


@pytest.mark.parametrize("wrong", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
@pytest.mark.parametrize("prefetch", [True, False])
def test_a_wrong_number_of_bytes_is_an_error(wrong: Callable[[bytes], bytes], prefetch: bool) -> None:
    """A fetch that brings fewer or more bytes than asked for never shifts what the reader sees."""
    with SpanFile(lambda start, end: wrong(CONTENT[start:end]), len(CONTENT), SpanQueue(1)) as file:
        if prefetch:
            file.prefetch([Span(0, 100)])
        with pytest.raises(SourceReadError, match="wanted bytes 0 to 100"):
            file.read(100)
    with (
        SpanFile(lambda start, end: wrong(CONTENT[start:end]), len(CONTENT), SpanQueue(1)) as file,
        pytest.raises(SourceReadError, match="wanted bytes 3990 to 4000"),
    ):
        file.keep_tail(10)


def test_close_does_not_wait_for_a_fetch() -> None:
    """Closing returns while a fetch hangs; what has not begun never begins."""
    started, release = threading.Event(), threading.Event()
    asked: list[int] = []

    def fetch(start: int, end: int) -> bytes:
        asked.append(start)
        started.set()
        release.wait(30)
        return CONTENT[start:end]

    file = SpanFile(fetch, len(CONTENT), SpanQueue(1))
    file.prefetch([Span(0, 10), Span(10, 20)])
    assert started.wait(30)
    file.close()
    file.close()
    release.set()
    assert asked == [0]


def test_abandoning_ends_a_wait() -> None:
    """A read that waits for a hanging fetch, and any later one, raises as soon as the file is abandoned."""
    release = threading.Event()
    fetched = threading.Event()

    def fetch(start: int, end: int) -> bytes:
        if start >= 10:
            fetched.set()
            release.wait(60)
        return CONTENT[start:end]

    with SpanFile(fetch, len(CONTENT), SpanQueue(2)) as file:
        file.prefetch([Span(0, 10), Span(10, 20)])
        assert fetched.wait(30)
        assert CONTENT[:10] == file.read(10)
        timer = threading.Timer(0.2, file.abandon)
        timer.start()
        for _ in range(2):
            with pytest.raises(SourceReadError, match="abandoned"):
                file.read(10)
        timer.join()
        file.abandon()
        release.set()
