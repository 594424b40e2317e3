"""shard/source/spanqueue.py"""

import threading
from collections.abc import Iterator

import pytest

from shard.source.spanqueue import SpanQueue
from shard.source.spans import Span
from tests.support.netns_tools import wait_for


class Gate:
    """A fetch that hangs until its gate is opened, and keeps account."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.open = threading.Event()

    def __call__(self, start: int, end: int) -> bytes:
        self.begun.append(start)
        assert self.open.wait(30)
        return bytes(end - start)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def spans(count: int, size: int = 10) -> list[Span]:
    return [Span(number * size, (number + 1) * size) for number in range(count)]


def test_so_many_requests_at_once(gate: Gate) -> None:
    """No more requests are under way than allowed; each that ends makes room for the next, in order."""
    queue = SpanQueue(3)
    tickets = queue.put(spans(9), gate)
    wait_for(lambda: len(gate.begun) == 3 or None, "three have begun")
    gate.open.set()
    assert all(len(ticket.data.result(30)) == 10 for ticket in tickets)
    assert sorted(gate.begun) == [number * 10 for number in range(9)]
    queue.close()


def test_held_bytes_are_bounded(gate: Gate) -> None:
    """What has been fetched counts until it is given back; then the next begins."""
    gate.open.set()
    queue = SpanQueue(8, held_bytes=35)
    tickets = queue.put(spans(5), gate)
    for ticket in list(tickets)[:3]:
        ticket.data.result(30)
    assert gate.begun[3:] == []
    queue.give_back([tickets[0]])
    assert len(tickets[3].data.result(30)) == 10
    assert sorted(gate.begun) == [0, 10, 20, 30]
    queue.close()


def test_a_span_larger_than_all_may_be_held_alone(gate: Gate) -> None:
    """A span that is longer than what may be held is fetched when nothing else is."""
    gate.open.set()
    queue = SpanQueue(8, held_bytes=5)
    first, second = queue.put(spans(2), gate)
    first.data.result(30)
    assert gate.begun == [0]
    queue.give_back([first])
    assert len(second.data.result(30)) == 10
    queue.close()


def test_what_is_given_back_never_begins(gate: Gate) -> None:
    """Spans nobody wants any more are skipped, and one that hangs makes room at once."""
    queue = SpanQueue(1)
    unwanted = queue.put(spans(4), gate)
    wait_for(lambda: gate.begun == [0] or None, "the first has begun")
    wanted = queue.put([Span(90, 95)], gate)
    queue.give_back(unwanted)
    wait_for(lambda: gate.begun == [0, 90] or None, "the wanted one has begun")
    gate.open.set()
    assert len(wanted[0].data.result(30)) == 5
    assert gate.begun == [0, 90]
    queue.close()


def test_an_error_is_for_whoever_waits() -> None:
    """What a fetch raises is raised where its bytes are waited for, and the others go on."""

    def fetch(start: int, end: int) -> bytes:
        if start == 0:
            raise OSError("out of reach")
        return bytes(end - start)

    queue = SpanQueue(2)
    bad, good = queue.put(spans(2), fetch)
    with pytest.raises(OSError, match="out of reach"):
        bad.data.result(30)
    assert len(good.data.result(30)) == 10
    queue.close()
