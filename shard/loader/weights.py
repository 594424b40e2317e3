"""Which source a sample of a mixture comes from, and how many of that source came before it (pure).

The stream is cut into blocks of 2,048 samples, from the beginning of each stage. Every block has the same whole number
of samples of each source, in an order of its own. So the counters at any place follow from the stages alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from shard.errors import LoaderError
from shard.loader.permutation import key_of, permute

BLOCK = 2048
"""Samples in which every source has its share, rounded to whole samples."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Weights from a sample of the stream on."""

    start: int
    """First sample (inclusive); that of step s is s * global_batch_size."""
    weights: Sequence[float]


@dataclass(frozen=True)
class Shares:
    """A stage as whole numbers."""

    start: int
    counts: tuple[int, ...]
    """[sources] samples of each in a block; their sum is BLOCK."""


Schedule = tuple[Shares, ...]
"""Stages, ascending; the first starts at 0."""


def counts_of(weights: Sequence[float]) -> tuple[int, ...]:
    """Samples of each source in a block, by largest remainder: within one sample of its share. Raises LoaderError."""
    try:
        exact = [Fraction(weight) for weight in weights]
    except (ValueError, OverflowError, TypeError) as error:
        raise LoaderError(f"weights {list(weights)}: not numbers") from error
    if not exact or min(exact) < 0 or sum(exact) == 0:
        raise LoaderError(f"weights {list(weights)}: none may be negative, and one must be positive")
    shares = [weight * BLOCK / sum(exact) for weight in exact]
    counts = [int(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda source: (counts[source] - shares[source], source))
    for source in by_remainder[: BLOCK - sum(counts)]:
        counts[source] += 1
    return tuple(counts)


def changed(schedule: Schedule, start: int, counts: tuple[int, ...]) -> Schedule:
    """The schedule with other counts from a sample on, until its next stage."""
    before = tuple(stage for stage in schedule if stage.start < start)
    after = tuple(stage for stage in schedule if stage.start > start)
    return (*before, Shares(start, counts), *after)


def until(schedule: Schedule, position: int) -> Schedule:
    """What of a schedule decides the samples before a place."""
    return tuple(stage for stage in schedule if stage.start < position)


def draw(schedule: Schedule, seed: int, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """([k] source of each place of the stream, [k] how many samples that source had given before it)."""
    sources, ordinals = np.empty_like(places), np.empty_like(places)
    starts = np.array([stage.start for stage in schedule])
    stage_of = np.searchsorted(starts, places, side="right") - 1
    base = np.zeros(len(schedule[0].counts), dtype=np.int64)
    for number in range(int(stage_of.max(initial=0)) + 1):
        if number:
            base = base + _given(schedule[number - 1], number - 1, seed, int(starts[number]))
        here = np.flatnonzero(stage_of == number)
        blocks, inside = np.divmod(places[here] - starts[number], BLOCK)
        counts = np.array(schedule[number].counts)
        for block in np.unique(blocks).tolist():
            chosen = blocks == block
            source, before = _block(schedule[number], number, seed, block)
            sources[here[chosen]] = source[inside[chosen]]
            ordinals[here[chosen]] = (base + block * counts)[source[inside[chosen]]] + before[inside[chosen]]
    return sources, ordinals


def _given(stage: Shares, number: int, seed: int, end: int) -> NDArray[np.int64]:
    """[sources] samples that each has given in a stage that ends at this place."""
    blocks, rest = divmod(end - stage.start, BLOCK)
    source, _ = _block(stage, number, seed, blocks)
    return blocks * np.array(stage.counts) + np.bincount(source[:rest], minlength=len(stage.counts))


def _block(stage: Shares, number: int, seed: int, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """([BLOCK] source of each place in a block, [BLOCK] how many of its source stand before it in the block)."""
    counts = np.array(stage.counts)
    dealt = permute(np.arange(BLOCK), BLOCK, key_of(seed, block, number, b"mixture"))
    source = np.searchsorted(np.cumsum(counts), dealt, side="right")
    # Places grouped by source, in order: the k-th of a group has k before it.
    by_source = np.argsort(source, kind="stable")
    before = np.empty(BLOCK, dtype=np.int64)
    before[by_source] = np.arange(BLOCK) - np.repeat(np.cumsum(counts) - counts, counts)
    return source, before
