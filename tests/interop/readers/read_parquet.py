"""Hugging Face `datasets`: every row; of packed rows also what `default_data_collator` makes of them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from datasets import load_dataset
from harness import Request, main

_BATCH = 4


def dataset_of(request: Request) -> Any:
    files = sorted(str(path) for path in request.directory.glob("*.parquet"))
    return load_dataset("parquet", data_files=files, split="train", cache_dir=str(request.scratch / "cache"))


def read(request: Request) -> Iterator[object]:
    dataset = dataset_of(request).select_columns("input_ids").with_format("numpy")
    return (row["input_ids"] for row in dataset)


def check(request: Request, samples: Sequence[np.ndarray]) -> dict[str, bool]:
    dataset = dataset_of(request)
    if "labels" not in dataset.column_names:
        return {}
    # Only for what needs it: importing it takes seconds.
    from torch.utils.data import DataLoader
    from transformers import default_data_collator

    rows = 0
    right = True
    for batch in DataLoader(dataset.with_format("torch"), batch_size=_BATCH, collate_fn=default_data_collator):
        expected = np.stack(samples[rows : rows + _BATCH])
        rows += len(expected)
        right &= np.array_equal(batch["input_ids"].numpy(), expected)
        right &= np.array_equal(batch["labels"].numpy(), expected)
        right &= bool((batch["attention_mask"] == 1).all())
    return {"default_data_collator makes batches of them": right and rows == len(samples)}


main("datasets", read, check)
