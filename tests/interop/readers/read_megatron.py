"""Megatron-Core's IndexedDataset over every pair of a directory; and what its builder writes for the same documents."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from harness import Request, main
from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder


def prefixes(request: Request) -> list[Path]:
    return sorted(path.with_suffix("") for path in request.directory.glob("*.idx"))


def read(request: Request) -> Iterator[np.ndarray]:
    datasets = [IndexedDataset(str(prefix)) for prefix in prefixes(request)]
    return (dataset[i] for dataset in datasets for i in range(len(dataset)))


def check(request: Request, samples: Sequence[np.ndarray]) -> dict[str, bool]:
    left = iter(samples)
    same = []
    for number, prefix in enumerate(prefixes(request)):
        theirs = request.scratch / str(number)
        builder = IndexedDatasetBuilder(f"{theirs}.bin", dtype={"uint16": np.uint16, "uint32": np.int32}[request.dtype])
        for _ in range(len(IndexedDataset(str(prefix)))):
            document = next(left)
            builder.add_document(torch.from_numpy(document.astype(np.int64)), [len(document)])
        builder.finalize(f"{theirs}.idx")
        same += [Path(f"{theirs}{end}").read_bytes() == Path(f"{prefix}{end}").read_bytes() for end in (".bin", ".idx")]
    return {"IndexedDatasetBuilder writes the same bytes": all(same)}


main("megatron-core", read, check)
