"""shard/source/window.py, against lines that are made of numbers."""

from collections.abc import Callable

import pytest

from shard.source.window import LEAST_SPAN_BYTES, MOST_SPAN_BYTES, Window


def run(window: Window, rate_of: Callable[[int], float], *, seconds: float, start: float = 0.0) -> list[int]:
    """Let spans arrive at the rate, in bytes a second, that a line gives so many requests. Returns the numbers of
    requests there were."""
    now, seen = start, []
    while now < start + seconds:
        seen.append(window.requests)
        now += window.span_bytes / rate_of(window.requests)
        window.arrived(window.span_bytes, now)
    return seen


def test_more_requests_where_each_has_a_rate_of_its_own() -> None:
    """On a line where every connection brings its part, the number grows to the most."""
    window = Window(16, now=0.0)
    run(window, lambda requests: requests * 4e6, seconds=10)
    assert window.requests == 16


def test_no_more_requests_where_they_bring_nothing() -> None:
    """On a line that is full, more are tried once and given up, and tried again only much later."""
    window = Window(64, now=0.0)
    seen = run(window, lambda requests: 25e6, seconds=25)
    assert window.requests == 8
    assert set(seen) == {8, 12}
    assert 12 in run(window, lambda requests: 25e6, seconds=30, start=25.0)


def test_growth_ends_where_the_line_is_full() -> None:
    """Requests are added as long as they bring a tenth more, and the last ones that did not are taken back."""
    window = Window(64, now=0.0)
    run(window, lambda requests: min(requests * 4e6, 60e6), seconds=20)
    assert 15 <= window.requests <= 18


def test_a_slow_reader_proves_nothing() -> None:
    """While it is the reader that is waited for, the number stays as it is."""
    window = Window(64, now=0.0)
    now = 0.0
    for _ in range(100):
        now += 0.2
        window.arrived(1 << 20, now)
        window.interrupted(now)
    assert window.requests == 8


@pytest.mark.parametrize(("rate", "expected"), [(1e6, LEAST_SPAN_BYTES), (32e6, 2_000_000), (1e9, MOST_SPAN_BYTES)])
def test_a_request_takes_half_a_second(rate: float, expected: int) -> None:
    """Spans are as long as half a second of one request's part of the line, within bounds."""
    window = Window(8, now=0.0)
    run(window, lambda requests: rate, seconds=60)
    assert window.span_bytes == pytest.approx(expected, rel=0.05)


def test_never_more_than_allowed() -> None:
    """A limit below the number at the start holds from the start."""
    assert Window(1, now=0.0).requests == 1
