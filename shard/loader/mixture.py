"""Several datasets in one stream, by weights that hold in every 2,048 samples and may change on the way."""

from collections.abc import Sequence
from dataclasses import dataclass

from shard.loader.dataset import TokenDataset

BLOCK = 2048
"""Samples in which every source has its share, rounded to whole samples."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Weights from a sample of the stream on."""

    start: int
    """First sample (inclusive); that of step s is s * global_batch_size."""
    weights: Sequence[float]


class MixtureDataset:
    """An endless stream of samples from sources of one context length and packing.

    Each source is walked through in its own epochs, each in an order of its own; a change of weights neither loses nor
    repeats any of its samples.

    Args:
        sources: datasets.
        weights: shares of samples, of any sum; or None for the sources' numbers of samples.
        stages: later weights, ascending.
        samples: of one epoch of the loader; None for a single endless one.
    """

    sources: tuple[TokenDataset, ...]
    context_length: int
    identity: str

    def __init__(
        self,
        sources: Sequence[TokenDataset],
        weights: Sequence[float] | None = None,
        *,
        stages: Sequence[Stage] = (),
        samples: int | None = None,
    ) -> None:
        raise NotImplementedError
