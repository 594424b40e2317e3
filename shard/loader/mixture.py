"""Several datasets in one stream, by weights that hold in every 2,048 samples and may change on the way."""

import hashlib
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from shard.errors import LoaderError
from shard.loader.batch import Allocate, Batch, BatchOptions
from shard.loader.dataset import TokenDataset
from shard.loader.order import Shuffle, order
from shard.loader.segments import Segments, merged
from shard.loader.weights import Schedule, Shares, Stage, changed, counts_of, draw

__all__ = ["MixtureDataset", "Stage"]


class MixtureDataset:
    """An endless stream of samples from sources of one context length.

    Each source is walked through in its own epochs, each in an order of its own; a change of weights neither loses nor
    repeats any of its samples.

    Args:
        sources: datasets.
        weights: shares of samples, of any sum; or None for the sources' numbers of samples.
        stages: later weights, ascending.
        samples: of one epoch of the loader; None for a single endless one.

    Raises LoaderError.
    """

    def __init__(
        self,
        sources: Sequence[TokenDataset],
        weights: Sequence[float] | None = None,
        *,
        stages: Sequence[Stage] = (),
        samples: int | None = None,
    ) -> None:
        self.sources = tuple(sources)
        if not self.sources:
            raise LoaderError("sources: a mixture of no datasets")
        lengths = sorted({source.context_length for source in self.sources})
        if len(lengths) > 1:
            raise LoaderError(f"sources: context lengths {lengths}; all sources of a mixture have the same")
        if samples is not None and samples < 1:
            raise LoaderError(f"samples {samples}: not positive")
        self.samples = samples
        self.schedule: Schedule = (Shares(0, self._counts(weights or [len(source) for source in self.sources])),)
        for stage in stages:
            if stage.start <= self.schedule[-1].start:
                raise LoaderError(f"stages: one starts at sample {stage.start}, not after the one before it")
            self.schedule = (*self.schedule, Shares(stage.start, self._counts(stage.weights)))
        self.declared = self.schedule
        """The schedule before `with_weights`."""
        self.context_length = lengths[0]
        self.packing = "+".join(sorted({source.packing for source in self.sources}))
        self.padded = any(source.padded for source in self.sources)
        self.options = self.sources[0].options
        self.data_identity, self.identity = (
            hashlib.sha256(" ".join(parts).encode()).hexdigest()
            for parts in ([s.data_identity for s in self.sources], [s.identity for s in self.sources])
        )

    def _counts(self, weights: Sequence[float]) -> tuple[int, ...]:
        if len(weights) != len(self.sources):
            raise LoaderError(f"weights {list(weights)}: {len(weights)} of them for {len(self.sources)} sources")
        counts = counts_of(weights)
        for source, count in zip(self.sources, counts, strict=True):
            if count and not len(source):
                raise LoaderError(
                    f"{source.path}: {source.tokens} tokens make no sample of context length {source.context_length}, "
                    "and its weight is not 0"
                )
        return counts

    def with_weights(self, start: int, weights: Sequence[float]) -> "MixtureDataset":
        """The same sources, with other weights from a sample of the stream on, until its next stage."""
        return self.with_schedule(changed(self.schedule, start, self._counts(weights)))

    def with_schedule(self, schedule: Schedule) -> "MixtureDataset":
        """The same sources, by this schedule."""
        other = MixtureDataset(self.sources, schedule[0].counts, samples=self.samples)
        other.schedule, other.declared = schedule, self.declared
        return other

    def draw(
        self, places: NDArray[np.int64], seed: int, shuffle: Shuffle
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """([k] source, [k] its sample) at these places of the stream."""
        sources, ordinals = draw(self.schedule, seed, places)
        samples = np.empty_like(places)
        for number in np.unique(sources).tolist():
            n = len(self.sources[number])
            here = np.flatnonzero(sources == number)
            epochs, inside = np.divmod(ordinals[here], n)
            for epoch in np.unique(epochs).tolist():
                chosen = epochs == epoch
                samples[here[chosen]] = order(inside[chosen], n, shuffle, seed=seed, epoch=epoch, source=number)
        return sources.astype(np.int32), samples

    def batch(
        self,
        sources: NDArray[np.int32],
        samples: NDArray[np.int64],
        options: BatchOptions | None = None,
        allocate: Allocate = np.empty,
    ) -> Batch:
        """A batch of these samples of these sources. Raises IndexError, ShardChangedError."""
        options = options or self.options
        tokens = allocate((len(samples), self.context_length + 1), np.dtype(options.dtype))
        for number, rows in self._rows_by_source(sources):
            part = np.empty((len(rows), self.context_length + 1), dtype=tokens.dtype)
            self.sources[number].read(samples[rows], part, options)
            tokens[rows] = part
        return Batch(
            tokens=tokens,
            samples=samples,
            sources=sources,
            find=partial(self._segments, sources, samples),
            padded=self.padded,
            options=options,
        )

    def will_need(self, sources: NDArray[np.int32], samples: NDArray[np.int64]) -> None:
        """Begin to bring these samples into memory."""
        for number, rows in self._rows_by_source(sources):
            self.sources[number].will_need(samples[rows])

    def _segments(self, sources: NDArray[np.int32], samples: NDArray[np.int64]) -> Segments:
        parts = [(rows, self.sources[n].segments(samples[rows])) for n, rows in self._rows_by_source(sources)]
        return merged(parts, len(samples))

    def _rows_by_source(self, sources: NDArray[np.int32]) -> list[tuple[int, NDArray[np.int64]]]:
        return [(number, np.flatnonzero(sources == number)) for number in np.unique(sources).tolist()]

    def close(self) -> None:
        """Let go of files."""
        for source in self.sources:
            source.close()
