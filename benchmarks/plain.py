"""Readers that are no package, timed as the others are: rules of trainers, and NumPy over the shards themselves.

python -m benchmarks.plain READER time DIRECTORY ANSWER … (see READERS, and tests/interop/readers/harness.py)
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from benchmarks.expect import some_documents
from shard.loader import DataLoader, TokenDataset
from shard.storage.stored import open_stored
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


def frames(request: Request) -> Iterator[Any]:
    """Windows of every compressed payload in turn, as int64."""
    for shard in open_stored(request.directory).shards:
        with shard.reader() as reader:
            for start in range(0, shard.record.tokens - request.length + 1, request.length):
                yield reader.read_tokens(start, start + request.length).astype(np.int64)


def anywhere(request: Request) -> Iterator[Any]:
    """Documents of a compressed directory that `some_documents` draws."""
    shards = open_stored(request.directory).shards
    with ExitStack() as stack:
        readers = [stack.enter_context(shard.reader()) for shard in shards]
        ends = [np.cumsum(shard.lengths(), dtype=np.int64) for shard in shards]
        for number, document in some_documents([len(found) for found in ends]):
            start = int(ends[number][document - 1]) if document else 0
            yield readers[number].read_tokens(start, int(ends[number][document]))


READERS: dict[str, Read] = {
    "nanogpt": nanogpt,
    "llmc": llmc,
    "native": native,
    "loader": loader,
    "frames": frames,
    "anywhere": anywhere,
}

if __name__ == "__main__":
    main("numpy", READERS[sys.argv.pop(1)])
