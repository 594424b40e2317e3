"""Which unit next, and what becomes of one that fails (no I/O)."""

from collections import Counter
from collections.abc import Iterable

from shard.records.unit import Unit


class UnitQueue:
    """The units of one host that are still to do. Ranks pull, so a slow rank never holds units back."""

    def __init__(self, units: Iterable[Unit], *, attempts: int, ranks: int) -> None:
        self._pending: dict[int, Unit] = {unit.ordinal: unit for unit in units}
        self._running: dict[int, tuple[int, Unit]] = {}
        self._attempts = attempts
        self._ranks = ranks
        self._failures: Counter[int] = Counter()
        self._last_path: dict[int, str] = {}
        self._promised: dict[int, int] = {}
        self._bound: set[int] = set()
        self.quarantined: list[int] = []

    def __len__(self) -> int:
        return len(self._pending) + len(self._running)

    @property
    def pending(self) -> int:
        """Units that no rank has begun."""
        return len(self._pending)

    def add(self, units: Iterable[Unit], *, bound: bool = False) -> None:
        """More to do, after what there is. `bound` units are never released: their tokens are here already."""
        added = {unit.ordinal: unit for unit in units}
        self._pending |= added
        if bound:
            self._bound |= added.keys()

    def release(self, size: int) -> list[Unit]:
        """Give up units that nobody has begun, the last first, until they come to `size` bytes of source."""
        released: list[Unit] = []
        for unit in [unit for unit in reversed(self._pending.values()) if unit.ordinal not in self._bound]:
            if sum(unit.bytes for unit in released) >= size:
                break
            released.append(self._pending.pop(unit.ordinal))
        return released

    def next_for(self, rank: int) -> Unit | None:
        """The unit this rank does next: the promised one, else of the file it has open, else of a file nobody has, else
        the first. What others are promised comes last.

        So a file is resolved about once per host, however many units it was cut into.
        """
        choice = self._choice(rank) or next(iter(self._pending.values()), None)
        if choice is None:
            return None
        del self._pending[choice.ordinal]
        self._promised.pop(rank, None)
        self._running[choice.ordinal] = (rank, choice)
        self._last_path[rank] = choice.path
        return choice

    def promise(self, rank: int) -> Unit | None:
        """The unit that this rank will be given next, unless another rank runs out of units or another host takes it.

        It stays pending: the rank may look at it, and no more. None near the end, where others would soon want it.
        """
        free = len(self._pending) - len(self._promised_to_others(rank))
        choice = self._choice(rank) if free > 2 * (self._ranks - 1) else None
        if choice is not None:
            self._promised[rank] = choice.ordinal
        return choice

    def _choice(self, rank: int) -> Unit | None:
        promised = self._pending.get(self._promised.get(rank, -1))
        if promised is not None:
            return promised
        taken = self._promised_to_others(rank)
        free = [unit for unit in self._pending.values() if unit.ordinal not in taken]
        last = self._last_path.get(rank)
        elsewhere = {path for other, path in self._last_path.items() if other != rank}
        elsewhere |= {unit.path for unit in taken.values()}
        return next(
            (unit for unit in free if unit.path == last),
            next((unit for unit in free if unit.path not in elsewhere), None),
        ) or next(iter(free), None)

    def _promised_to_others(self, rank: int) -> dict[int, Unit]:
        """Pending units, by ordinal."""
        ordinals = [ordinal for other, ordinal in self._promised.items() if other != rank]
        return {ordinal: self._pending[ordinal] for ordinal in ordinals if ordinal in self._pending}

    def done(self, ordinal: int) -> None:
        del self._running[ordinal]

    def failed(self, ordinal: int, *, retryable: bool) -> tuple[int, bool]:
        """Put a unit back, or aside. Returns the number of the attempt that failed, and whether that was the last."""
        rank, unit = self._running.pop(ordinal)
        self._promised.pop(rank, None)
        self._last_path.pop(rank, None)  # or this rank would go on with the same file, and take it first again
        self._failures[ordinal] += 1
        attempt = self._failures[ordinal]
        last = not retryable or attempt >= self._attempts
        if last:
            self.quarantined.append(ordinal)
        else:
            self._pending[ordinal] = unit  # at the end: the others first
        return attempt, last

    def running_on(self, rank: int) -> list[int]:
        """Ordinals of the units a rank has been given and not finished: one in work, and one being committed."""
        return [ordinal for ordinal, (owner, _) in self._running.items() if owner == rank]
