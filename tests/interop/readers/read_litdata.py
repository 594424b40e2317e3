"""Lightning's StreamingDataset with TokensLoader: blocks of all documents in a row."""

from collections.abc import Iterator, Sequence

import numpy as np
from harness import Request, main
from litdata import StreamingDataset, TokensLoader


def dataset_of(request: Request) -> StreamingDataset:
    return StreamingDataset(str(request.directory), item_loader=TokensLoader(block_size=request.length))


def read(request: Request) -> Iterator[object]:
    dataset = dataset_of(request)
    return iter(dataset)


def check(request: Request, samples: Sequence[np.ndarray]) -> dict[str, bool]:
    dataset = dataset_of(request)
    same = all(np.array_equal(np.asarray(dataset[i]), sample) for i, sample in enumerate(samples))
    return {"indexing gives what iterating gives": same and len(dataset) == len(samples)}


main("litdata", read, check)
