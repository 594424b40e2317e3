"""The samples of every step of a run: what is drawn from which dataset."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shard.errors import LoaderError, LoaderStateError
from shard.loader.batch import Allocate, Batch, BatchOptions
from shard.loader.dataset import TokenDataset
from shard.loader.local import LocalShare, local_share
from shard.loader.mixture import MixtureDataset
from shard.loader.order import Shuffle, order
from shard.loader.plan import ENDLESS, Epochs, Length, Ranks
from shard.loader.state import LoaderState, schedule_of, spell_schedule
from shard.loader.weights import until

AnyDataset = TokenDataset | MixtureDataset

_DRAWN_AHEAD = 4096
"""Samples that are drawn at once: a few cost as much."""


@dataclass(frozen=True, eq=False)
class Rows:
    """What a rank reads in a step."""

    dataset: AnyDataset
    step: int
    epoch: int
    sources: NDArray[np.int32]
    """[rows]"""
    samples: NDArray[np.int64]
    """[rows]"""

    def will_need(self) -> None:
        """Begin to bring them into memory."""
        if isinstance(self.dataset, MixtureDataset):
            self.dataset.will_need(self.sources, self.samples)
        else:
            self.dataset.will_need(self.samples)

    def read(self, options: BatchOptions | None, allocate: Allocate) -> Batch:
        """Raises ShardChangedError."""
        if isinstance(self.dataset, MixtureDataset):
            return self.dataset.batch(self.sources, self.samples, options, allocate)
        return self.dataset.batch(self.samples, options, allocate)


class Draws:
    """A pure function: (step, rank) → rows."""

    def __init__(
        self, datasets: Sequence[AnyDataset], ranks: Ranks, length: Length, seed: int, shuffle: Shuffle
    ) -> None:
        self.datasets = tuple(datasets)
        """One for each epoch, the last one repeated."""
        self.seed = seed
        self.shuffle: Shuffle = shuffle
        self._ranks, self._length = ranks, length
        self._local = tuple(_local(dataset, length) for dataset in self.datasets)
        self.epochs = Epochs(tuple(map(self._steps, self.datasets, self._local)))
        self._latest: tuple[tuple[int, int, int], NDArray[np.int32], NDArray[np.int64]] | None = None

    def _steps(self, dataset: AnyDataset, local: LocalShare | None) -> int:
        if isinstance(dataset, MixtureDataset):
            if dataset.samples is None:
                return self._length.steps_per_epoch or ENDLESS
            return self._length.steps(dataset.samples, self._ranks, "mixture")
        return self._length.steps(local.samples if local else len(dataset), self._ranks, str(dataset.path))

    def number_of(self, epoch: int) -> int:
        """Which dataset an epoch has."""
        return min(epoch, len(self.datasets) - 1)

    def dataset_of(self, epoch: int) -> AnyDataset:
        return self.datasets[self.number_of(epoch)]

    def fingerprint_of(self, epoch: int) -> str:
        local = self._local[self.number_of(epoch)]
        return local.identity if local else self.dataset_of(epoch).data_identity

    def position(self, step: int) -> int:
        """The first place of a step of the run in the stream of its mixture, which goes on from epoch to epoch."""
        epoch, _ = self.epochs.place_of(step)
        return (step - self.epochs.first_step(self.number_of(epoch))) * self._ranks.global_batch_size

    def rows(self, step: int, rank: int) -> Rows:
        """What a rank reads in a step of the run. Raises LoaderError for a step or rank that cannot be."""
        if step < 0 or not 0 <= rank < self._ranks.dp_world_size:
            raise LoaderError(f"step {step} of rank {rank}: there are {self._ranks.dp_world_size} ranks, steps from 0")
        epoch, inside = self.epochs.place_of(step)
        # Drawn for some steps at once, all of one epoch.
        together = max(1, _DRAWN_AHEAD // self._ranks.rows)
        chunk, offset = divmod(inside, together)
        key = (epoch, chunk, rank)
        latest = self._latest
        if latest is None or latest[0] != key:
            steps = np.arange(chunk * together, (chunk + 1) * together, dtype=np.int64)
            latest = self._latest = (key, *self._draw(epoch, steps, rank))
        mine = slice(offset * self._ranks.rows, (offset + 1) * self._ranks.rows)
        return Rows(self.dataset_of(epoch), step, epoch, latest[1][mine], latest[2][mine])

    def _draw(self, epoch: int, steps: NDArray[np.int64], rank: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """([steps * rows] sources, [steps * rows] samples) of steps of an epoch."""
        dataset = self.dataset_of(epoch)
        places = self._ranks.places(steps, rank)
        if isinstance(dataset, MixtureDataset):
            first = self.position(self.epochs.first_step(epoch))
            return dataset.draw(places + first, self.seed, self.shuffle)
        # Past its end, where the last step is filled up, the epoch's order begins again.
        samples = order(places % len(dataset), len(dataset), self.shuffle, seed=self.seed, epoch=epoch)
        return np.zeros(len(samples), dtype=np.int32), samples

    def replaced(self, epoch: int, dataset: MixtureDataset) -> "Draws":
        """The same with another dataset for an epoch."""
        number = self.number_of(epoch)
        datasets = [*self.datasets]
        datasets[number] = dataset
        return Draws(datasets, self._ranks, self._length, self.seed, self.shuffle)

    def resumed(self, state: LoaderState) -> "Draws":
        """With the weights of a state, which must agree with those declared here on all that was yielded.

        Raises LoaderStateError.
        """
        original = self.dataset_of(state.epoch)
        if not isinstance(original, MixtureDataset) or state.declared is None:
            return self
        past = schedule_of(state.changed or state.declared)
        if spell_schedule(original.declared) == state.declared:
            return self.replaced(state.epoch, original.with_schedule(past))
        position = self.position(state.step)
        if until(past, position) != until(original.declared, position):
            spelled = ", ".join(f"{list(stage.counts)} from sample {stage.start}" for stage in until(past, position))
            raise LoaderStateError(
                f"the state's mixture had the weights {spelled} (in 2,048) up to sample {position}; declare them, and "
                f"new ones as a Stage from sample {position} on, or make the mixture as it was and call set_weights"
            )
        return self.replaced(state.epoch, original.with_schedule(original.declared))


def _local(dataset: AnyDataset, length: Length) -> LocalShare | None:
    if isinstance(dataset, MixtureDataset):
        return None
    share = local_share(dataset)
    if share is not None and dataset.packing != "concat" and length.steps_per_epoch is None:
        raise LoaderError(
            f"{dataset.path}: holds one host's part, and how many samples packing {dataset.packing!r} makes of the "
            "others' is not known here; give steps_per_epoch, the same on every host"
        )
    return share
