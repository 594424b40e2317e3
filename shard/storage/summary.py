"""What a directory of shards holds, from records and indexes; and one of its documents."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.errors import JobError
from shard.storage.stored import Stored, StoredShard


@dataclass(frozen=True, slots=True)
class Lengths:
    """Documents by their length in tokens, end-of-document id included."""

    least: int
    median: float
    mean: float
    most: int
    histogram: tuple[tuple[int, int, int], ...]
    """(from, to, documents): lengths from `from` (inclusive) to `to` (exclusive), by powers of two."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document."""

    shard: StoredShard
    position: int
    """Within its shard, from 0."""
    tokens: NDArray[Any]
    """[tokens], end-of-document id included."""


def lengths_of(stored: Stored) -> Lengths | None:
    """None where there is no document. Raises VerificationError for a damaged index."""
    # [documents] int32: four bytes for each document of the directory
    lengths = np.concatenate([shard.lengths() for shard in stored.shards])
    if not len(lengths):
        return None
    powers = np.bincount(np.frexp(lengths)[1])  # 2^(k-1) <= length < 2^k
    first = int(np.flatnonzero(powers)[0])
    return Lengths(
        least=int(lengths.min()),
        median=float(np.median(lengths)),
        mean=float(lengths.mean()),
        most=int(lengths.max()),
        histogram=tuple((1 << k >> 1, 1 << k, int(powers[k])) for k in range(first, len(powers))),
    )


def document_at(stored: Stored, number: int) -> Document:
    """The document of this number, from 0, in the order of the directory.

    Raises JobError when there are not so many, VerificationError when its shard is damaged.
    """
    left = number
    for shard in stored.shards if number >= 0 else ():
        if left < shard.record.documents:
            return Document(shard, left, _tokens(shard, left))
        left -= shard.record.documents
    there = f"it has 0 to {stored.documents - 1}" if stored.documents else "it has none at all"
    raise JobError(f"{stored.directory}: no document {number}; {there}")


def _tokens(shard: StoredShard, position: int) -> NDArray[Any]:
    lengths = shard.lengths()
    start, count = int(lengths[:position].sum(dtype=np.int64)), int(lengths[position])
    with shard.reader() as reader:
        return reader.read_tokens(start, start + count)
