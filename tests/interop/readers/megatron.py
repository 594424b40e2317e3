"""Megatron-Core's IndexedDataset; and what its builder writes for the same documents."""

import sys
from pathlib import Path

import numpy as np
import torch
from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder

prefix, answer = Path(sys.argv[1]) / "train_text_document", Path(sys.argv[2])
dataset = IndexedDataset(str(prefix))
documents = [np.asarray(dataset[i]) for i in range(len(dataset))]
theirs = answer.with_name("theirs")
builder = IndexedDatasetBuilder(f"{theirs}.bin", dtype=np.uint16)
for document in documents:
    builder.add_document(torch.from_numpy(document.astype(np.int64)), [len(document)])
builder.finalize(f"{theirs}.idx")
same = all(theirs.with_suffix(s).read_bytes() == prefix.with_suffix(s).read_bytes() for s in (".bin", ".idx"))
np.savez(answer, tokens=np.concatenate(documents), lengths=[len(document) for document in documents], same=same)
