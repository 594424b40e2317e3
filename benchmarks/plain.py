"""Readers that are no package, timed as the others are: rules of trainers, and NumPy over the shards themselves.

python -m benchmarks.plain nanogpt|llmc|native|loader time DIRECTORY ANSWER … (see tests/interop/readers/harness.py)
"""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from shard.loader import DataLoader, TokenDataset
from tests.interop.readers.harness import Read, Request, main
from tests.support.rules import llmc_batches

_ROWS = 8
_BATCH = 32


def nanogpt(request: Request) -> Iterator[Any]:
    """As `get_batch` takes a row, but all of them in order: a window of the map, as int64."""
    (path,) = request.directory.glob("*.bin")
    data = np.memmap(path, dtype=np.uint16, mode="r")
    starts = range(0, len(data) - request.length + 1, request.length)
    return (data[start : start + request.length].astype(np.int64) for start in starts)


def llmc(request: Request) -> Iterator[Any]:
    """The inputs of every batch of eight rows."""
    return (inputs for inputs, _ in llmc_batches(sorted(request.directory.glob("*.bin")), _ROWS, request.length))


def native(request: Request) -> Iterator[Any]:
    """Windows of every payload in turn, as int64."""
    for path in sorted(request.directory.glob("[0-9]*.bin")):
        data = np.memmap(path, dtype=request.dtype, mode="r")
        for start in range(0, len(data) - request.length + 1, request.length):
            yield data[start : start + request.length].astype(np.int64)


def loader(request: Request) -> Iterator[Any]:
    """The inputs of every batch of 32, in order, as int32, made ahead in the loader's thread."""
    batches = DataLoader(TokenDataset(request.directory, request.length), _BATCH, shuffle="none")
    return (batch.input_ids for batch in batches)


READERS: dict[str, Read] = {"nanogpt": nanogpt, "llmc": llmc, "native": native, "loader": loader}

if __name__ == "__main__":
    main("numpy", READERS[sys.argv.pop(1)])
