"""The loader: step after step of global batches, this rank's part of each."""

import weakref
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from shard.errors import LoaderError
from shard.loader.batch import Allocate, Batch, BatchOptions
from shard.loader.draws import AnyDataset, Draws, Rows, datasets_of
from shard.loader.iteration import Iteration
from shard.loader.locate import Located, located
from shard.loader.mixture import MixtureDataset
from shard.loader.order import Shuffle, require_shuffle
from shard.loader.plan import Length, Ranks, skips_of
from shard.loader.state import STATE_VERSION, LoaderState, decode_state, encode_state, require_same, spell_schedule

__all__ = ["DataLoader", "Shuffle"]

FIELDS = ("labels", "loss_mask", "position_ids", "document_ids", "cu_seqlens", "max_seqlen", "is_continuation")
"""Of a batch, beside the tokens: what `prepare` may name."""


class DataLoader:
    """Batches of this rank, one a step; every rank has the same number of steps.

    Step s of an epoch takes samples [s * G, (s + 1) * G) of the epoch's order, G = global_batch_size; rank r takes the
    r-th of dp_world_size equal runs of them. So the ranks' batches in a row are the global batch, on any world size.

    Args:
        dataset: a dataset, a directory (with context_length), or several: one for each epoch, the last one repeated:
            that is how the context length changes with epochs or stages.
        global_batch_size: samples of a step, over all ranks.
        context_length, packing: for a directory, or to replace the dataset's.
        micro_batch_size: for `Batch.micro_batches`; must divide a rank's part of a step.
        dp_rank, dp_world_size: which part is this rank's. On shards that are local to a host: the local rank and the
            host's number of ranks, and global_batch_size is the host's, so many for each of its ranks; steps are then
            those that every host of the cluster manifest can do.
        seed: of the order; another for every epoch all the same.
        shuffle: "full", "block" (2,048 neighbours at a time: for spinning disks and object stores; mixes less), "none".
        prefetch_factor: batches made ahead in a thread; 0 makes them when asked for.
        prepare: fields that the thread works out, such as ("labels", "cu_seqlens", "position_ids").
        drop_last: what fills no step at the end of an epoch is left out; else the last step is filled up with the
            epoch's first samples.
        steps_per_epoch: instead of what the samples give; they begin again when they run out.
        skip_ranges: [start, end) of steps of the run that are left out.
        options: how batches are spelled; the dataset's by default.
        allocate: makes the arrays of tokens.

    Raises LoaderError for arguments that do not fit each other; what TokenDataset raises for a directory.
    """

    def __init__(
        self,
        dataset: AnyDataset | Path | str | Sequence[AnyDataset],
        global_batch_size: int,
        micro_batch_size: int | None = None,
        *,
        dp_rank: int = 0,
        dp_world_size: int = 1,
        seed: int = 0,
        shuffle: Shuffle = "full",
        context_length: int | None = None,
        packing: str | None = None,
        prefetch_factor: int = 2,
        prepare: Sequence[str] = (),
        drop_last: bool = True,
        steps_per_epoch: int | None = None,
        skip_ranges: Sequence[tuple[int, int]] = (),
        options: BatchOptions | None = None,
        allocate: Allocate = np.empty,
    ) -> None:
        seed = index(seed)
        require_shuffle(shuffle, seed)
        if prefetch_factor < 0:
            raise LoaderError(f"prefetch_factor {prefetch_factor}: negative")
        unknown = sorted(set(prepare) - set(FIELDS))
        if unknown:
            raise LoaderError(f"prepare {unknown}: fields are {', '.join(FIELDS)}")
        self._ranks = Ranks(
            global_batch_size=index(global_batch_size),
            micro_batch_size=None if micro_batch_size is None else index(micro_batch_size),
            dp_rank=index(dp_rank),
            dp_world_size=index(dp_world_size),
        )
        length = Length(drop_last=drop_last, steps_per_epoch=steps_per_epoch)
        self._draws = Draws(datasets_of(dataset, context_length, packing), self._ranks, length, seed, shuffle)
        self._skips = skips_of(skip_ranges)
        self._prefetch_factor, self._prepare = prefetch_factor, tuple(prepare)
        self._options, self._allocate = options, allocate
        self._step = 0
        # Weak: the thread of an iterator that nobody holds any more ends, though it holds the loader.
        self._iteration: weakref.ref[Iteration] | None = None

    @property
    def dp_rank(self) -> int:
        return self._ranks.dp_rank

    @property
    def dp_world_size(self) -> int:
        return self._ranks.dp_world_size

    @property
    def global_batch_size(self) -> int:
        return self._ranks.global_batch_size

    @property
    def micro_batch_size(self) -> int | None:
        return self._ranks.micro_batch_size

    @property
    def step(self) -> int:
        """Of the run: the next to be yielded, counted from 0 over all epochs."""
        return self._skips.after(self._step)

    @property
    def epoch(self) -> int:
        """Of the next step."""
        return self._draws.epochs.place_of(self.step)[0]

    @property
    def dataset(self) -> AnyDataset:
        """Of the next step."""
        return self._draws.dataset_of(self.epoch)

    def __len__(self) -> int:
        """Steps of the present epoch, skipped ones left out. TypeError where it is endless."""
        epoch = self.epoch
        steps = self._draws.epochs.of(epoch)
        if steps is None:
            raise TypeError("an endless mixture has no length; give it a number of samples")
        first = self._draws.epochs.first_step(epoch)
        return steps - self._skips.within(first, first + steps)

    def steps_of(self, epoch: int) -> int | None:
        """Steps of an epoch; None where it is endless."""
        return self._draws.epochs.of(epoch)

    def pending(self) -> Iterator[int]:
        """The steps of the run that are left in the present epoch, skipped ones left out."""
        step, end = self.step, self._end_of(self.epoch)
        while end is None or step < end:
            yield step
            step = self._skips.after(step + 1)

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the present epoch. An earlier iterator of this loader refuses to go on."""
        self._abandon()
        iteration = Iteration(self._made(self.pending()), self._prefetch_factor, self._yielded, self._ended)
        self._iteration = weakref.ref(iteration)
        return iteration

    def batch_at(self, step: int) -> Batch:
        """This rank's batch of any step of the run; the loader's place stays as it is. A pure function, safe in any
        process and thread: torch workers call it."""
        return self._make(self._draws.rows(step, self.dp_rank))

    def locate(self, step: int, rank: int | None = None) -> list[Located]:
        """The documents in the batch of a step of the run (a batch's `step`), of this rank or another."""
        drawn = self._draws.rows(step, self.dp_rank if rank is None else rank)
        dataset = drawn.dataset
        sources = dataset.sources if isinstance(dataset, MixtureDataset) else (dataset,)
        return [
            piece
            for row, (source, sample) in enumerate(zip(drawn.sources.tolist(), drawn.samples.tolist(), strict=True))
            for piece in located(sources[source], sample, row)
        ]

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; stay where one is when it is the present one, as after a resume."""
        epoch = index(epoch)
        if epoch < 0:
            raise LoaderError(f"epoch {epoch}: negative")
        if epoch != self.epoch:
            self._abandon()
            self._step = self._draws.epochs.first_step(epoch)

    def set_weights(self, weights: Sequence[float]) -> None:
        """Of a mixture, from the next step on. Raises LoaderError; iterate anew then."""
        epoch, dataset = self.epoch, self.dataset
        if not isinstance(dataset, MixtureDataset):
            raise LoaderError("set_weights: the loader's dataset is no mixture")
        self._abandon()
        self._draws = self._draws.replaced(epoch, dataset.with_weights(self._draws.position(self.step), weights))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: JSON-able, below 1 KB, the same on all ranks; counts only what was yielded."""
        return encode_state(self._state(self.step))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a state, also of another world size; iterate anew then. Raises LoaderStateError, naming what differs.

        Of a mixture, weights that the state's loader was given with `set_weights` come with it. Other weights than the
        state's loader was made with are taken when they differ from the state's step on only (see `Stage`).
        """
        found = decode_state(state)
        draws = self._draws.resumed(found)
        require_same(found, self._state(found.step, draws))
        self._abandon()
        self._draws, self._step = draws, found.step

    def advance_to(self, step: int) -> None:
        """Say that all steps of the run before this one are done (for adapters that count by themselves)."""
        self._step = index(step)

    def close(self) -> None:
        """End the thread. Iterating starts another."""
        self._abandon()

    def __enter__(self) -> "DataLoader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # The thread stays behind: another process iterates anew.
        return {**self.__dict__, "_iteration": None}

    def _end_of(self, epoch: int) -> int | None:
        steps = self._draws.epochs.of(epoch)
        return None if steps is None else self._draws.epochs.first_step(epoch) + steps

    def _made(self, steps: Iterator[int]) -> Iterator[Batch]:
        """Batches of these steps, those to come being brought into memory meanwhile."""
        ahead: deque[Rows] = deque()
        for step in steps:
            ahead.append(self._draws.rows(step, self.dp_rank))
            ahead[-1].will_need()
            if len(ahead) > self._prefetch_factor:
                yield self._make(ahead.popleft())
        while ahead:
            yield self._make(ahead.popleft())

    def _make(self, rows: Rows) -> Batch:
        batch = rows.read(self._options, self._allocate)
        batch = replace(batch, step=rows.step, epoch=rows.epoch, micro_batch_size=self.micro_batch_size)
        for name in self._prepare:
            getattr(batch, name)
        return batch

    def _yielded(self, batch: Batch) -> None:
        self._step = batch.step + 1

    def _ended(self) -> None:
        end = self._end_of(self._draws.epochs.place_of(self._step - 1)[0]) if self._step else None
        self._step = max(self._step, end or 0)

    def _abandon(self) -> None:
        iteration = self._iteration() if self._iteration is not None else None
        self._iteration = None
        if iteration is not None:
            iteration.abandon()

    def _state(self, step: int, draws: Draws | None = None) -> LoaderState:
        draws = draws or self._draws
        epoch, inside = draws.epochs.place_of(step)
        dataset = draws.dataset_of(epoch)
        declared = changed = None
        if isinstance(dataset, MixtureDataset):
            declared = spell_schedule(dataset.declared)
            changed = spell_schedule(dataset.schedule)
        return LoaderState(
            version=STATE_VERSION,
            step=step,
            epoch=epoch,
            epoch_step=inside,
            fingerprint=draws.fingerprint_of(epoch),
            context_length=dataset.context_length,
            packing=dataset.packing,
            seed=draws.seed,
            shuffle=draws.shuffle,
            global_batch_size=self.global_batch_size,
            declared=declared,
            changed=None if changed == declared else changed,
        )
