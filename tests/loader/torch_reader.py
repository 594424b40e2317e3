"""Reads through `shard.loader.torch` for test_torch.py, in an interpreter that has torch.

python torch_reader.py DIRECTORY STATE ANSWER
"""

import json
import shutil
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader as Workers

from shard.errors import LoaderError, ShardChangedError
from shard.loader import BatchOptions, DataLoader, TokenDataset
from shard.loader.torch import FIELDS, TokenIterable, TorchLoader, pinned, tensors

CONTEXT, BATCH, RANKS, RANK, SEED, STOP = 32, 8, 2, 1, 7, 3
"""STOP: batches before a checkpoint."""


def loader(directory: Path) -> DataLoader:
    """Of one rank of two, with labels that cross no boundary."""
    dataset = TokenDataset(directory, CONTEXT, options=BatchOptions(dtype="int64", mask_boundaries=True))
    return DataLoader(dataset, BATCH, dp_rank=RANK, dp_world_size=RANKS, seed=SEED)


def epoch(batches: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    """Field → its value in every batch."""
    taken = list(batches)
    return {field: [np.asarray(batch[field]) for batch in taken] for field in taken[0]}


def refused(*arguments: Any, of: Any = TorchLoader, **options: Any) -> str:
    try:
        of(*arguments, **options)
    except LoaderError as error:
        return str(error)
    return ""


def pinning(directory: Path) -> str:
    """Whether tokens come in pinned memory, or why not."""
    dataset = TokenDataset(directory, CONTEXT)
    try:
        with DataLoader(dataset, BATCH, allocate=pinned) as own:
            found = tensors(own.batch_at(0))["input_ids"]
    except LoaderError as error:
        return str(error)
    return "pinned" if found.is_pinned() else "not pinned"


def shard_gone(directory: Path, copy: Path) -> str:
    """What a trainer hears when a shard is deleted under its workers."""
    shutil.copytree(directory, copy)
    with loader(copy) as own:
        for payload in copy.glob("*.bin"):
            payload.unlink()
        try:
            list(TorchLoader(own, num_workers=2))
        except ShardChangedError as error:
            return str(error)
    return ""


def main(directory: Path, numpy_state: Path, answer: Path) -> None:
    found: dict[str, dict[str, list[Any]]] = {}
    facts: dict[str, Any] = {"refused": {}, "states": {}}
    for workers in (0, 1, 4):
        with loader(directory) as own:
            through = TorchLoader(own, fields=FIELDS, num_workers=workers)
            facts[f"length-{workers}"] = len(through)
            found[f"workers-{workers}-0"] = epoch(through)
            found[f"workers-{workers}-1"] = epoch(islice(through, STOP))
            facts["states"][workers] = through.state_dict()
    with loader(directory) as own:
        through = TorchLoader(own, num_workers=2, multiprocessing_context="spawn")
        found["spawn"] = epoch(islice(through, STOP))
    for workers in (0, 1, 4):
        with loader(directory) as own:
            through = TorchLoader(own, num_workers=workers)
            through.load_state_dict(json.loads(numpy_state.read_text()))
            found[f"resumed-{workers}"] = epoch(through)
    for workers in (0, 3):
        with loader(directory) as own:
            rows = Workers(TokenIterable(own), batch_size=BATCH // RANKS, num_workers=workers)
            found[f"rows-{workers}"] = epoch(rows)
            whole = TokenIterable(own, fields=FIELDS, batches=True)
            found[f"batches-{workers}"] = epoch(Workers(whole, batch_size=None, num_workers=workers))
    facts["pinning"] = pinning(directory)
    facts["gone"] = shard_gone(directory, answer.parent / "copy")
    with loader(directory) as own:
        batch = own.batch_at(0)
        facts["shared"] = bool(np.shares_memory(batch.tokens, tensors(batch)["input_ids"].numpy()))
        facts["refused"]["field"] = refused(own, fields=("tokens",))
        facts["refused"]["pin"] = refused(own, pin_memory=True)
        facts["refused"]["row"] = refused(own, of=TokenIterable, fields=("cu_seqlens",))
    arrays = {
        f"{name}/{field}/{number}": value
        for name, fields in found.items()
        for field, values in fields.items()
        for number, value in enumerate(values)
    }
    np.savez(answer, facts=json.dumps(facts), **arrays)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
