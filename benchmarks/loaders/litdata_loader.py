"""litdata's StreamingDataLoader over its TokensLoader, shuffled; its own state to resume."""

import json
from collections.abc import Iterator

from litdata import StreamingDataLoader, StreamingDataset, TokensLoader
from protocol import SEED, Arguments, run

STATE = "state.json"


def open_loader(given: Arguments) -> StreamingDataLoader:
    dataset = StreamingDataset(
        str(given.data / "train"),
        item_loader=TokensLoader(block_size=given.context_length + 1),
        shuffle=True,
        drop_last=True,
        seed=SEED,
    )
    return StreamingDataLoader(dataset, batch_size=given.batch_size, num_workers=0)


def batches(given: Arguments, done: int) -> Iterator[int]:
    loader = open_loader(given)
    if done:
        loader.load_state_dict(json.loads((given.scratch / STATE).read_text()))
    while True:
        for rows in loader:
            yield rows.long()[:, 1:].numel()


def prepare(given: Arguments, done: int) -> None:
    """Its state counts what it has given: it has to be asked for after so many batches."""
    loader = open_loader(given)
    for _, _ in zip(range(done), loader, strict=False):
        pass
    (given.scratch / STATE).write_text(json.dumps(loader.state_dict()))


if __name__ == "__main__":
    run(batches, prepare)
