"""nanoGPT's way: datasets.map with tiktoken over processes, end of text appended, one uint16 memmap written.

No validation split; the cache of `datasets` is in the output directory, so nothing is reused between runs.
"""

import numpy as np
import tiktoken
from datasets import load_dataset
from interface import ENCODING, arguments

WRITES = 1024
"""Slices in which the memmap is filled."""

encoding = tiktoken.get_encoding(ENCODING)


def tokenize(example: dict[str, str]) -> dict[str, object]:
    ids = encoding.encode_ordinary(example["text"])
    ids.append(encoding.eot_token)
    return {"ids": ids, "len": len(ids)}


def main() -> None:
    given = arguments()
    texts = load_dataset(
        "parquet",
        data_files=given.inputs,
        split="train",
        columns=["text"],
        num_proc=given.workers,
        cache_dir=str(given.output / "cache"),
    )
    tokens = texts.map(tokenize, remove_columns=["text"], num_proc=given.workers)
    total = int(np.sum(tokens["len"], dtype=np.uint64))
    written = np.memmap(given.output / "train.bin", dtype=np.uint16, mode="w+", shape=(total,))
    filled = 0
    slices = min(WRITES, len(tokens))
    for number in range(slices):
        part = tokens.shard(num_shards=slices, index=number, contiguous=True).with_format("numpy")
        ids = np.concatenate(part["ids"])
        written[filled : filled + len(ids)] = ids
        filled += len(ids)
    written.flush()


if __name__ == "__main__":
    main()
