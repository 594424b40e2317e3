"""shard/host/schedule.py"""

import hypothesis.strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from shard.host.schedule import UnitQueue
from shard.records.unit import Unit

ATTEMPTS = 3
FILES, PARTS = 4, 3
UNITS = [
    Unit(ordinal=file * PARTS + part, path=f"{file}.parquet", size=9, content_id="x", part=part, parts=PARTS)
    for file in range(FILES)
    for part in range(PARTS)
]


class Ranks(RuleBasedStateMachine):
    """Ranks that take units, finish them, fail them and die, in any order."""

    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.queue = UnitQueue(UNITS, attempts=ATTEMPTS, ranks=4)
        self.at: dict[int, int] = {}
        self.attempts = dict.fromkeys(range(len(UNITS)), 0)
        self.done: list[int] = []
        self.quarantined: list[int] = []

    @rule(target=running, rank=st.integers(0, 3))
    def take(self, rank: int):  # type: ignore[no-untyped-def]
        waiting = len(UNITS) - len(self.at) - len(self.done) - len(self.quarantined)
        unit = self.queue.next_for(rank)
        assert (waiting == 0) == (unit is None)
        if unit is None:
            return multiple()
        assert unit.ordinal not in self.at
        self.at[unit.ordinal] = rank
        return unit.ordinal

    @rule(rank=st.integers(0, 3))
    def promise(self, rank: int) -> None:
        unit = self.queue.promise(rank)
        assert unit is None or unit.ordinal not in {*self.at, *self.done, *self.quarantined}

    @rule(ordinal=consumes(running))
    def finish(self, ordinal: int) -> None:
        if ordinal in self.at:
            self.queue.done(ordinal)
            del self.at[ordinal]
            self.done.append(ordinal)

    @rule(ordinal=consumes(running), retryable=st.booleans())
    def fail(self, ordinal: int, retryable: bool) -> None:
        if ordinal in self.at:
            self._failed(ordinal, retryable=retryable)

    @rule(rank=st.integers(0, 3))
    def die(self, rank: int) -> None:
        expected = sorted(ordinal for ordinal, owner in self.at.items() if owner == rank)
        assert expected == sorted(self.queue.running_on(rank))
        for ordinal in self.queue.running_on(rank):
            self._failed(ordinal, retryable=True)

    def _failed(self, ordinal: int, *, retryable: bool) -> None:
        self.attempts[ordinal] += 1
        attempt, last = self.queue.failed(ordinal, retryable=retryable)
        assert (self.attempts[ordinal], not retryable or self.attempts[ordinal] == ATTEMPTS) == (attempt, last)
        del self.at[ordinal]
        if last:
            self.quarantined.append(ordinal)

    @invariant()
    def every_unit_is_somewhere_once(self) -> None:
        assert len(UNITS) - len(self.done) - len(self.quarantined) == len(self.queue)
        assert self.quarantined == self.queue.quarantined
        assert len(set(self.done) | set(self.quarantined)) == len(self.done) + len(self.quarantined)

    def teardown(self) -> None:
        for ordinal in list(self.at):
            self.finish(ordinal)
        while (unit := self.queue.next_for(0)) is not None:
            self.at[unit.ordinal] = 0
            self.finish(unit.ordinal)
        assert sorted(self.done + self.quarantined) == list(range(len(UNITS)))
        assert len(self.queue) == 0


TestEveryUnitEndsOnce = Ranks.TestCase


def test_a_rank_stays_with_its_file() -> None:
    """A rank goes on with the file it has open, and begins with one nobody has: a file is resolved by few."""
    queue = UnitQueue(UNITS, attempts=1, ranks=FILES)
    taken = {rank: [] for rank in range(FILES)}  # type: dict[int, list[str]]
    for _ in range(PARTS):
        for rank in range(FILES):
            unit = queue.next_for(rank)
            assert unit is not None
            taken[rank].append(unit.path)
    assert [[f"{file}.parquet"] * PARTS for file in range(FILES)] == list(taken.values())


def test_a_failed_unit_comes_last() -> None:
    """What failed is tried again after the others, by the rank that has its file open too."""
    for units, expected in ((UNITS[:3], [1, 2, 0]), (UNITS[::PARTS], [3, 6, 9, 0])):
        queue = UnitQueue(units, attempts=2, ranks=1)
        first = queue.next_for(0)
        assert first is not None
        queue.failed(first.ordinal, retryable=True)
        order = []
        while (unit := queue.next_for(0)) is not None:
            order.append(unit.ordinal)
        assert expected == order


def test_bound_units_are_never_released() -> None:
    """Units whose tokens are here already stay, whatever is asked for; the others go, the last first."""
    queue = UnitQueue((), attempts=1, ranks=1)
    queue.add(UNITS[:2], bound=True)
    queue.add(UNITS[2:4])
    assert [UNITS[3], UNITS[2]] == queue.release(1 << 60)
    assert queue.release(1 << 60) == []
    assert len(queue) == 2


def test_a_promise_is_kept() -> None:
    """What a rank was promised it gets next, and no other is promised or given it while there is something else."""
    queue = UnitQueue(UNITS[::PARTS], attempts=1, ranks=2)
    first = queue.next_for(0)
    promised = queue.promise(0)
    assert first is not None
    assert promised is not None
    other = queue.next_for(1)
    assert other is not None
    assert len({first.path, promised.path, other.path}) == 3
    assert queue.promise(1) is None  # two are left, and one is promised
    queue.done(first.ordinal)
    assert promised == queue.next_for(0)


def test_a_promise_does_not_bind_who_has_nothing_to_do() -> None:
    """A rank that would be idle is given what another was promised, and that one gets something else."""
    queue = UnitQueue(UNITS[: 2 * PARTS : PARTS], attempts=1, ranks=1)
    assert queue.next_for(0) == UNITS[0]
    assert queue.promise(0) == UNITS[PARTS]
    assert queue.next_for(1) == UNITS[PARTS]
    assert queue.next_for(0) is None


def test_units_that_are_promised_can_be_given_away() -> None:
    """A promised unit may go to another host; the rank is then given another."""
    queue = UnitQueue(UNITS[:3], attempts=1, ranks=1)
    assert queue.next_for(0) == UNITS[0]
    assert queue.promise(0) == UNITS[1]
    assert queue.release(18) == [UNITS[2], UNITS[1]]
    assert queue.next_for(0) is None
