"""datatrove's folder dataset under torch's DataLoader, as nanotron uses it: a permutation, and a sampler that skips."""

import itertools
from collections.abc import Iterator

import torch
from datatrove.utils.dataset import DatatroveFolderDataset
from protocol import SEED, Arguments, run
from torch.utils.data import DataLoader


def batches(given: Arguments, done: int) -> Iterator[int]:
    dataset = DatatroveFolderDataset(
        str(given.data / "train"), seq_len=given.context_length, filename_pattern="*.ds", token_size=2
    )
    for epoch in itertools.count():
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(SEED + epoch)).tolist()
        sampler = order[done * given.batch_size :]
        for batch in DataLoader(dataset, batch_size=given.batch_size, sampler=sampler, drop_last=True):
            yield batch["input_ids"][:, 1:].numel()
        done = 0


if __name__ == "__main__":
    run(batches)
