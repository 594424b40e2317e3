"""The loader: step after step of global batches, this rank's part of each."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shard.loader.batch import Allocate, Batch, BatchOptions
from shard.loader.dataset import TokenDataset
from shard.loader.locate import Located
from shard.loader.mixture import MixtureDataset

Shuffle = Literal["full", "block", "none"]


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
            host's number of ranks; steps are then those that every host of the cluster manifest can do.
        seed: of the order; another for every epoch all the same.
        shuffle: "full", "block" (2,048 neighbours at a time: for spinning disks and object stores; mixes less), "none".
        prefetch_factor: batches made ahead in a thread; 0 makes them when asked for.
        prepare: fields that the thread works out, such as ("labels", "cu_seqlens", "position_ids").
        drop_last: what fills no step at the end of an epoch is left out; else the last step is filled up with the
            epoch's first samples.
        skip_ranges: [start, end) of steps of the run that are left out.
        options: how batches are spelled; the dataset's by default.
        allocate: makes the arrays of tokens.
    """

    dp_rank: int
    dp_world_size: int
    global_batch_size: int
    step: int
    """Of the run: the next to be yielded, counted from 0 over all epochs."""

    def __init__(
        self,
        dataset: TokenDataset | MixtureDataset | Path | str | Sequence[TokenDataset | MixtureDataset],
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
        skip_ranges: Sequence[tuple[int, int]] = (),
        options: BatchOptions | None = None,
        allocate: Allocate = np.empty,
    ) -> None:
        raise NotImplementedError

    @property
    def epoch(self) -> int:
        """Of the next step."""
        raise NotImplementedError

    def __len__(self) -> int:
        """Steps of the present epoch, skipped ones left out. TypeError where it is endless."""
        raise NotImplementedError

    def steps_of(self, epoch: int) -> int | None:
        """Steps of an epoch; None where it is endless."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the present epoch. An earlier iterator of this loader ends."""
        raise NotImplementedError

    def batch_at(self, step: int) -> Batch:
        """This rank's batch of any step of the run; the loader's place stays as it is. A pure function, safe in any
        process and thread: torch workers call it."""
        raise NotImplementedError

    def locate(self, step: int, rank: int | None = None) -> list[Located]:
        """The documents in the batch of a step of the run (a batch's `step`), of this rank or another."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; stay where one is when it is the present one, as after a resume."""
        raise NotImplementedError

    def set_weights(self, weights: Sequence[float]) -> None:
        """Of a mixture, from the next step on."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: JSON-able, below 1 KB, the same on all ranks; counts only what was yielded."""
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a state, also of another world size. Raises LoaderStateError, naming what differs."""
        raise NotImplementedError

    def advance_to(self, step: int) -> None:
        """Say that all steps of the run before this one are done (for adapters that count by themselves)."""
        raise NotImplementedError

    def close(self) -> None:
        """End the thread. Iterating starts another."""
        raise NotImplementedError

    def __enter__(self) -> "DataLoader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
