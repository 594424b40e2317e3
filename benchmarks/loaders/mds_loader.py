"""MosaicML Streaming's dataset and data loader, shuffled by its default algorithm; its own state to resume.

Its package imports its vision module, which wants torchvision, which is not there: an empty module stands in for it.
"""

import sys
from collections.abc import Iterator
from types import ModuleType

from protocol import SEED, Arguments, run

sys.modules["streaming.vision"] = ModuleType("streaming.vision")
from streaming import StreamingDataLoader, StreamingDataset  # noqa: E402
from streaming.base.util import clean_stale_shared_memory  # noqa: E402


def batches(given: Arguments, done: int) -> Iterator[int]:
    clean_stale_shared_memory()
    dataset = StreamingDataset(
        local=str(given.data / "train"),
        shuffle=True,
        shuffle_seed=SEED,
        batch_size=given.batch_size,
        num_canonical_nodes=1,
    )
    loader = StreamingDataLoader(dataset, batch_size=given.batch_size, num_workers=0, drop_last=True)
    if done:
        state = {"epoch": 0, "sample_in_epoch": done * given.batch_size, "shuffle_seed": SEED}
        loader.load_state_dict(state | {"num_canonical_nodes": 1, "initial_physical_nodes": 1})
    while True:
        for rows in loader:
            yield rows["tokens"].long()[:, 1:].numel()


if __name__ == "__main__":
    run(batches)
