"""Steps of a run: how many each epoch has, and which samples a rank takes in each (pure)."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shard.errors import LoaderError


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """How a global batch is shared out."""

    global_batch_size: int
    micro_batch_size: int | None
    dp_rank: int
    dp_world_size: int

    def __post_init__(self) -> None:
        size, world = self.global_batch_size, self.dp_world_size
        if world < 1 or not 0 <= self.dp_rank < world:
            raise LoaderError(f"dp_rank {self.dp_rank} of dp_world_size {world}: no such rank")
        if size < 1 or size % world:
            raise LoaderError(f"global_batch_size {size}: not a multiple of dp_world_size {world}")
        micro = self.micro_batch_size
        if micro is not None and (micro < 1 or self.rows % micro):
            raise LoaderError(
                f"micro_batch_size {micro}: does not divide the {self.rows} samples of a rank "
                f"(global_batch_size {size} on {world} ranks)"
            )

    @property
    def rows(self) -> int:
        """Samples of a rank in a step."""
        return self.global_batch_size // self.dp_world_size

    def places(self, steps: NDArray[np.int64], rank: int) -> NDArray[np.int64]:
        """[steps * rows] which places of the epoch's order a rank takes in these steps of it."""
        inside = rank * self.rows + np.arange(self.rows, dtype=np.int64)
        return (steps[:, None] * self.global_batch_size + inside).reshape(-1)


ENDLESS = 1 << 62
"""Steps of an epoch that has no end."""


@dataclass(frozen=True)
class Epochs:
    """Steps of every epoch; the last entry is repeated for ever."""

    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        if ENDLESS in self.steps[:-1]:
            raise LoaderError(
                f"dataset {self.steps.index(ENDLESS)} is endless, those after it are never reached; give it a "
                "number of samples"
            )

    def of(self, epoch: int) -> int | None:
        """Steps; None where there is no end."""
        steps = self.steps[min(epoch, len(self.steps) - 1)]
        return None if steps == ENDLESS else steps

    def first_step(self, epoch: int) -> int:
        """Of the run. Raises LoaderError for an epoch behind an endless one."""
        more = max(0, epoch - len(self.steps))
        if epoch >= len(self.steps) and self.steps[-1] == ENDLESS:
            raise LoaderError(f"epoch {epoch}: epoch {len(self.steps) - 1} is endless; give it a number of samples")
        return sum(self.steps[:epoch]) + more * self.steps[-1]

    def place_of(self, step: int) -> tuple[int, int]:
        """(epoch, step in it) of a step of the run."""
        for epoch, steps in enumerate(self.steps):
            if step < steps:
                return epoch, step
            step -= steps
        more, inside = divmod(step, self.steps[-1])
        return len(self.steps) + more, inside


@dataclass(frozen=True)
class Skips:
    """Steps of the run that are left out."""

    ranges: tuple[tuple[int, int], ...]
    """[start, end), ascending, apart."""

    def after(self, step: int) -> int:
        """This step, or the first behind the range that it is in."""
        at = bisect_right(self.ranges, step, key=lambda found: found[0]) - 1
        return max(step, self.ranges[at][1]) if at >= 0 else step

    def within(self, first: int, last: int) -> int:
        """Steps of [first, last) that are left out."""
        return sum(max(0, min(end, last) - max(start, first)) for start, end in self.ranges)


def skips_of(ranges: Sequence[tuple[int, int]]) -> Skips:
    """In order, those that touch joined. Raises LoaderError."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted((int(start), int(end)) for start, end in ranges):
        if start < 0 or end <= start:
            raise LoaderError(f"skip_ranges: [{start}, {end}) is no range of steps")
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return Skips(tuple(joined))


@dataclass(frozen=True, kw_only=True)
class Length:
    """How long epochs are to be."""

    drop_last: bool
    steps_per_epoch: int | None

    def __post_init__(self) -> None:
        if self.steps_per_epoch is not None and self.steps_per_epoch < 1:
            raise LoaderError(f"steps_per_epoch {self.steps_per_epoch}: not positive")

    def steps(self, samples: int, ranks: Ranks, whose: str) -> int:
        """Steps of an epoch of so many samples. Raises LoaderError where there are none, or ranks would get nothing."""
        size = ranks.global_batch_size
        if samples < ranks.dp_world_size:
            raise LoaderError(
                f"{whose}: {samples} samples for dp_world_size {ranks.dp_world_size}: more ranks than samples"
            )
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        if self.drop_last and samples < size:
            raise LoaderError(
                f"{whose}: {samples} samples do not fill a step of global_batch_size {size}; make it smaller, or set "
                "drop_last=False to have steps filled up from the beginning"
            )
        return samples // size if self.drop_last else -(-samples // size)
