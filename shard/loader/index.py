"""Document boundaries of one shard from its `.idx`, memory-mapped: opening costs the same for any number of documents.

A lookup is a binary search in the byte offsets as they lie in the file. They begin at byte 34 + 4 * documents:
unaligned, so that numpy would copy them all before searching. A memoryview reads them where they are.
"""

import mmap
import os
from bisect import bisect_right
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shard.errors import ShardChangedError
from shard.formats.layout import HEADER, index_size
from shard.formats.megatron import index_header
from shard.storage.stored import StoredShard

_NEAR = 64
"""Documents that a range has at most, mostly: so far one looks first for its end."""


class DocumentIndex:
    """The boundaries of one shard."""

    def __init__(self, shard: StoredShard) -> None:
        self._path: Path = shard.directory / f"{shard.stem}.idx"
        self._documents = documents = shard.record.documents
        self._size = index_size(documents)
        self._itemsize = 2 if shard.dtype == "uint16" else 4
        self._tokens = shard.record.tokens
        self._map = _mapped(self._path, self._size)
        if self._map[: HEADER.size] != index_header(documents, shard.dtype):
            self._map.close()
            raise ShardChangedError(
                f"{self._path}: not the index of {documents} documents of {shard.dtype} that its record describes; run "
                "'shardfleet verify', and write it again"
            )
        first = HEADER.size + 4 * documents
        self._view = memoryview(self._map)
        self._bytes = self._view[first : first + 8 * documents]
        self._offsets = self._bytes.cast("q")
        self._array: NDArray[np.int64] = np.frombuffer(self._bytes, dtype="<i8")

    def find(self, start: int, stop: int) -> tuple[bool, NDArray[np.int64]]:
        """Documents of bytes [start, stop) of the payload: (whether `start` lies within one, [n] where those begin that
        begin in (start, stop], a view). The caller has called `check`."""
        offsets = self._offsets
        after = bisect_right(offsets, start)
        past = bisect_right(offsets, stop, after, min(after + _NEAR, self._documents))
        if past == after + _NEAR:
            past = bisect_right(offsets, stop, past)
        return offsets[after - 1] != start, self._array[after:past]

    def document_at(self, token: int) -> int:
        """The last document that begins at or before a token."""
        self.check()
        return bisect_right(self._offsets, token * self._itemsize) - 1

    def start_of(self, document: int) -> int:
        """The token with which a document begins; where the last one ends, for the number of documents."""
        self.check()
        return self._tokens if document == self._documents else self._offsets[document] // self._itemsize

    def starts(self, first: int, last: int) -> NDArray[np.int64]:
        """[last - first + 1] where documents [first, last) begin, and where the last one of them ends."""
        self.check()
        return np.append(self._array[first:last] // self._itemsize, self.start_of(last))

    def check(self) -> None:
        """Raises ShardChangedError when the file has become shorter."""
        # Reading a mapped page that the file no longer has kills the process.
        if self._map.size() < self._size:
            raise ShardChangedError(
                f"{self._path}: cut to {self._map.size()} bytes of {self._size} under the loader; run 'shardfleet "
                "verify', write it again, and resume"
            )

    def close(self) -> None:
        """Nothing: the map goes when the last view of it does, which may be in use."""


def _mapped(path: Path, size: int) -> mmap.mmap:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ShardChangedError(
            f"{path}: missing; its record says that it is there: run 'shardfleet verify', and write it again"
        ) from error
    try:
        found = os.fstat(descriptor).st_size
        if found != size:
            raise ShardChangedError(
                f"{path}: {found} bytes, its record says {size}: run 'shardfleet verify', and write it again"
            )
        mapped = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)
    mapped.madvise(mmap.MADV_RANDOM)
    return mapped
