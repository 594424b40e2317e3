"""catid's DataLoader: rows of whole documents, in an order shuffled by seed and epoch; begins at any step."""

import itertools
from collections.abc import Iterator

import numpy as np
from catid_dataloader import DataLoader, EpochConfig
from protocol import SEED, Arguments, run


def batches(given: Arguments, done: int) -> Iterator[int]:
    loader = DataLoader(str(given.data / "train"))
    for epoch in itertools.count():
        config = EpochConfig()
        config.seed0, config.seed1 = SEED, epoch
        config.micro_batch_size, config.context_size = given.batch_size, given.context_length + 1
        config.start_step = done
        loader.begin_epoch(config)
        # [rows, at most length + 1] int32, padded
        while (rows := loader.get_micro_batch()[0]) is not None:
            batch = rows.astype(np.int64)
            yield int((batch[:, 1:] != config.padding_token).sum())
        done = 0


if __name__ == "__main__":
    run(batches)
