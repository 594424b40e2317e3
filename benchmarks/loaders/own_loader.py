"""Our DataLoader over the shards themselves: full shuffle, windows of all documents in a row, made ahead in its thread.

With --documents also what intra-document attention needs: labels that cross no boundary, cu_seqlens, position_ids.
"""

import sys
from collections.abc import Iterator

from protocol import SEED, Arguments, run

from shard.loader import BatchOptions, DataLoader, TokenDataset

DOCUMENTS = ("labels", "cu_seqlens", "max_seqlen", "position_ids")


def batches(given: Arguments, done: int, *, documents: bool) -> Iterator[int]:
    options = BatchOptions(dtype="int64", mask_boundaries=documents)
    dataset = TokenDataset(given.data, given.context_length, options=options)
    loader = DataLoader(dataset, given.batch_size, seed=SEED, prepare=DOCUMENTS if documents else ())
    if done:
        loader.advance_to(done)
        loader.load_state_dict(loader.state_dict())
    while True:
        for batch in loader:
            yield batch.labels.size


if __name__ == "__main__":
    documents = "--documents" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--documents"]
    run(lambda given, done: batches(given, done, documents=documents))
