"""nanoGPT's get_batch over a directory of shards as it is: no copy, no train.bin.

In nanoGPT's train.py, replace get_batch by

    from get_batch import Shards
    train = Shards("/home/me/dataset_shard", block_size)
    val = Shards("/home/me/holdout_shard", block_size)

    def get_batch(split):
        return (train if split == "train" else val).get_batch(batch_size, device)

Crops begin anywhere, as nanoGPT's do: with replacement, across documents. `python get_batch.py DIR` shows a batch.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class Shards:
    """The payloads of a directory, drawn from in proportion to their tokens."""

    def __init__(self, directory: str | Path, block_size: int) -> None:
        root = Path(directory).expanduser()
        self.facts = json.loads((root / "dataset.json").read_text())
        self.block_size = block_size
        # A shard is there when its record is; one that is shorter than a crop gives none.
        payloads = [path.with_suffix(".bin") for path in sorted(root.glob("[0-9]*.json"))]
        sizes = [path.stat().st_size // np.dtype(self.facts["dtype"]).itemsize for path in payloads]
        self.shards = [
            np.memmap(path, dtype=self.facts["dtype"], mode="r")
            for path, size in zip(payloads, sizes, strict=True)
            if size > block_size
        ]
        if not self.shards:
            raise SystemExit(f"{root}: no shard has more than {block_size} tokens")
        # [shards] crops that begin in each
        self.crops = np.array([len(shard) - block_size for shard in self.shards], dtype=np.int64)

    @property
    def vocab_size(self) -> int:
        """For nanoGPT's model; its meta.pkl would say so."""
        return int(self.facts["tokenizer"]["vocab_size"])

    def get_batch(self, batch_size: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """([batch_size, block_size] inputs, the same of labels), int64."""
        starts = torch.randint(int(self.crops.sum()), (batch_size,)).numpy()
        ends = np.cumsum(self.crops)
        which = np.searchsorted(ends, starts, side="right")
        offsets = starts - (ends - self.crops)[which]
        crops = [self.shards[i][at : at + self.block_size + 1] for i, at in zip(which, offsets, strict=True)]
        # [batch_size, block_size + 1] int64
        tokens = torch.from_numpy(np.stack(crops).astype(np.int64))
        x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        if device != "cpu":
            return x.pin_memory().to(device, non_blocking=True), y.pin_memory().to(device, non_blocking=True)
        return x, y


if __name__ == "__main__":
    shards = Shards(sys.argv[1], block_size=64)
    x, y = shards.get_batch(4)
    print(f"{len(shards.shards)} shards, a vocabulary of {shards.vocab_size:,}")
    print(x)
    print(y)
