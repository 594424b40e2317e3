"""Batches as torch tensors, by worker processes that keep no state.

    loader = TorchLoader(DataLoader(dataset, 256, dp_rank=rank, dp_world_size=world_size), num_workers=4)
    for batch in loader:                    # one epoch
        train(batch["input_ids"], batch["labels"])
        state = loader.state_dict()         # what was given out, not what workers have read ahead

Workers are sent the number of a step and answer with its batch, which is a pure function of it. So batches and states
are those of the numpy loader, for any number of workers, and a state of one is a state of the other.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader as Workers
from torch.utils.data import IterableDataset, get_worker_info

from shard.errors import LoaderError
from shard.loader.batch import Batch
from shard.loader.loader import DataLoader

FIELDS = (
    *("input_ids", "labels", "loss_mask", "position_ids", "document_ids"),
    *("cu_seqlens", "max_seqlen", "is_continuation"),
)
"""What a batch can give. `max_seqlen` stays a number of the host, as attention kernels take it."""

_USUAL = ("input_ids", "labels")

Tensors = dict[str, Any]
"""Field → tensor; `max_seqlen` → int."""


def tensors(batch: Batch, fields: Sequence[str] = _USUAL) -> Tensors:
    """Fields of a batch; tensors and arrays share their memory. Raises LoaderError for a field that there is not."""
    _require_fields(fields)
    return {field: _tensor(getattr(batch, field)) for field in fields}


def pinned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """For `DataLoader(allocate=pinned)`: tokens are read into pinned memory and need no copy before the device.

    Raises LoaderError where torch cannot pin: there is no accelerator.
    """
    try:
        memory = torch.empty(shape, dtype=_tensor(np.empty(0, dtype)).dtype, pin_memory=True)
    except RuntimeError as error:
        raise LoaderError(f"allocate=pinned: torch cannot pin memory here: {error} Leave it out") from error
    array: NDArray[Any] = memory.numpy()
    return array


class StepSampler:
    """The steps that are left of the loader's present epoch, one after the other: a batch sampler for `StepDataset`."""

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[list[int]]:
        """[step] each."""
        return ([step] for step in self._loader.pending())


class StepDataset:
    """Map-style: step of the run → this rank's batch. It has no state, so any process may answer."""

    def __init__(self, loader: DataLoader, fields: Sequence[str] = _USUAL) -> None:
        _require_fields(fields)
        self._loader = loader
        self._fields = tuple(fields)

    def __getitem__(self, step: int) -> Tensors:
        return tensors(self._loader.batch_at(step), self._fields)

    def __getitems__(self, steps: Sequence[int]) -> list[tuple[int, Tensors]]:
        """(step, batch) each."""
        return [(step, self[step]) for step in steps]


class TorchLoader:
    """The batches of a loader as dictionaries of tensors; with state_dict and load_state_dict, as torchdata's
    StatefulDataLoader has them and Lightning asks for.

    Args:
        loader: whose rank, order and place these are.
        fields: of FIELDS; what is not asked for is not worked out.
        num_workers: processes that read and work out; 0 uses the loader's own thread.
        pin_memory: batches of workers are copied to pinned memory, by torch's thread. Without workers: `pinned`.
        prefetch_factor: batches that a worker reads ahead.
        multiprocessing_context: how workers are started, as torch takes it.

    A loader is walked through by one iterator at a time; workers end with it.
    """

    def __init__(
        self,
        loader: DataLoader,
        *,
        fields: Sequence[str] = _USUAL,
        num_workers: int = 0,
        pin_memory: bool = False,
        prefetch_factor: int = 2,
        multiprocessing_context: str | None = None,
    ) -> None:
        _require_fields(fields)
        if num_workers < 0 or prefetch_factor < 1:
            raise LoaderError(
                f"num_workers {num_workers}, prefetch_factor {prefetch_factor}: at least 0 workers, and 1 batch ahead"
            )
        if pin_memory and not num_workers:
            raise LoaderError("pin_memory without workers: give the loader allocate=shard.loader.torch.pinned instead")
        self.loader = loader
        self._fields = tuple(fields)
        self._num_workers = num_workers
        self._options = {
            "pin_memory": pin_memory,
            "prefetch_factor": prefetch_factor,
            "multiprocessing_context": multiprocessing_context,
        }

    def __len__(self) -> int:
        """Steps of the present epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Tensors]:
        """The rest of the present epoch."""
        if not self._num_workers:
            for batch in self.loader:
                yield tensors(batch, self._fields)
            return
        self.loader.close()  # A forked process must not inherit a lock that the loader's thread holds.
        workers = Workers(
            StepDataset(self.loader, self._fields),
            batch_sampler=StepSampler(self.loader),
            num_workers=self._num_workers,
            collate_fn=_only,
            **self._options,
        )
        for step, found in workers:
            self.loader.advance_to(step + 1)
            yield found

    def set_epoch(self, epoch: int) -> None:
        """As the loader's."""
        self.loader.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """The loader's state: the next step is the one after the batch that was given out last."""
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As the loader's."""
        self.loader.load_state_dict(state)


class TokenIterable(IterableDataset):  # type: ignore[misc]  # torch is not there when types are checked
    """For trainers that make their own torch DataLoader: HF Trainer, Lightning.

    Gives the rows of this rank's batches, one epoch from the loader's present place; `DataLoader(TokenIterable(loader),
    batch_size=rows of a step)` puts the same batches together again, with any number of workers. With `batches`, whole
    batches instead, for `batch_size=None`.

    Workers do not tell how far they are: a trainer that saves states keeps the step itself (`loader.advance_to`), or
    uses TorchLoader.
    """

    def __init__(self, loader: DataLoader, *, fields: Sequence[str] = _USUAL, batches: bool = False) -> None:
        _require_fields(fields)
        if not batches and (packed := sorted({"cu_seqlens", "max_seqlen"} & set(fields))):
            raise LoaderError(f"{', '.join(packed)}: of a whole batch, not of a row; give batches=True")
        self._loader = loader
        self._fields = tuple(fields)
        self._batches = batches

    def __iter__(self) -> Iterator[Tensors]:
        worker = get_worker_info()
        first, every = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # torch asks its workers in turns, so this is the order of the loader.
        for step in islice(self._loader.pending(), first, None, every):
            found = tensors(self._loader.batch_at(step), self._fields)
            if self._batches:
                yield found
                continue
            for row in range(len(next(iter(found.values())))):
                yield {field: values[row] for field, values in found.items()}


def _only(batches: list[tuple[int, Tensors]]) -> tuple[int, Tensors]:
    """The one batch of a list: nothing is collated, because batches are read whole."""
    return batches[0]


def _tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _require_fields(fields: Sequence[str]) -> None:
    unknown = [field for field in fields if field not in FIELDS]
    if unknown or not fields:
        raise LoaderError(f"fields {unknown or list(fields)}: at least one, of {', '.join(FIELDS)}")
