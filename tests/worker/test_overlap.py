"""shard/overlap.py"""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shard.overlap import RunAhead, stages


class Endless:
    """Counts up for ever, and keeps account of how far it was asked."""

    def __init__(self) -> None:
        self.given = 0
        self.progress = threading.Condition()

    def __iter__(self) -> Iterator[int]:
        while True:
            with self.progress:
                self.given += 1
                self.progress.notify_all()
            yield self.given - 1


class PanicError(BaseException):
    """As Rust libraries raise it: no Exception."""


@settings(deadline=None)
@given(st.lists(st.integers()), st.integers(1, 5), st.integers(1, 4))
def test_order_is_kept(items: list[int], depth: int, chained: int) -> None:
    """Whatever the depth and the number of stages, the consumer sees the items in order, then the end."""
    source: RunAhead[int] = RunAhead(items, depth=depth)
    chain = [source]
    for _ in range(chained - 1):
        chain.append(RunAhead((item for item in chain[-1]), depth=depth))
    with stages(*chain):
        assert items == list(chain[-1])


def test_it_runs_ahead_by_its_depth_and_no_more() -> None:
    """Items are made ahead of the consumer, and then it waits: what it holds is bounded."""
    source = Endless()
    ahead = RunAhead(source, depth=3)
    with source.progress:
        assert source.progress.wait_for(lambda: source.given == 4, timeout=30)
    # Three in the queue, one in hand waiting for room: a fifth would need somebody to take one.
    iterator = iter(ahead)
    assert next(iterator) == 0
    with source.progress:
        assert source.progress.wait_for(lambda: source.given == 5, timeout=30)
    with stages(ahead):
        pass
    assert source.given <= 6


@pytest.mark.parametrize("error", [ValueError("bad"), PanicError("bad")])
def test_an_error_comes_in_its_place(error: BaseException) -> None:
    """The consumer gets the items before the error, then the error, of whatever kind, through any number of stages."""

    def failing() -> Iterator[int]:
        yield 0
        yield 1
        raise error

    first = RunAhead(failing(), depth=1)
    second = RunAhead((item * 10 for item in first), depth=1)
    seen = []
    with pytest.raises(type(error), match="bad"), stages(first, second):
        for item in second:
            seen.append(item)  # noqa: PERF402  the items before the error are wanted
    assert seen == [0, 10]


@pytest.mark.parametrize("taken", [0, 1, 2, 5])
def test_leaving_early_ends_all_stages(taken: int) -> None:
    """A consumer that stops, or fails, at any moment leaves no thread behind: none waits for room or for items."""
    source = Endless()
    first = RunAhead(source, depth=2)
    second = RunAhead((item for item in first), depth=2)
    before = threading.active_count()
    with pytest.raises(KeyError), stages(first, second):
        iterator = iter(second)
        for _ in range(taken):
            next(iterator)
        raise KeyError
    assert not first._thread.is_alive()
    assert not second._thread.is_alive()
    assert threading.active_count() <= before - 2


class Announcing(RunAhead[int]):
    """Says when it has been told to stop."""

    def __init__(self, items: Iterator[int], told: threading.Event) -> None:
        self._told = told
        super().__init__(items, depth=1)

    def stop(self) -> None:
        super().stop()
        self._told.set()


def test_stopping_while_the_source_is_busy() -> None:
    """Leaving waits until the source is done with its item, and takes no further one: its file can be closed then."""
    busy, told = threading.Event(), threading.Event()
    touched = []

    def source() -> Iterator[int]:
        yield 0
        busy.set()
        told.wait(30)
        touched.append(1)
        yield 1
        touched.append(2)
        yield 2

    first = Announcing(source(), told)
    second = RunAhead((item for item in first), depth=1)
    with stages(first, second):
        assert busy.wait(30)
    assert touched == [1]
