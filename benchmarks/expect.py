"""What a reader must find: how many tokens, and the sum of their ids, from the shards themselves.

Each function is for one way to cut: (shards, directory that is read, tokens of a sample) → (tokens, sum).
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.formats.megatron import read_index

UNKNOWN = -1
"""A sum that cannot be known from the shards alone."""
Found = tuple[int, int]
Tokens = NDArray[Any]


@dataclass(frozen=True)
class Shards:
    """One split as a run has written it."""

    directory: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "dataset.json").read_text())
        return found

    @property
    def dtype(self) -> str:
        return str(self.facts["dtype"])

    @property
    def eod(self) -> int:
        return int(self.facts["tokenizer"]["eod_id"])

    @property
    def payloads(self) -> list[Tokens]:
        paths = sorted(self.directory.glob("[0-9]*.bin"))
        return [np.fromfile(path, dtype=np.dtype(self.dtype).newbyteorder("<")) for path in paths]

    @property
    def lengths(self) -> list[NDArray[np.int64]]:
        """[documents] of every shard, in tokens."""
        paths = sorted(self.directory.glob("[0-9]*.idx"))
        return [read_index(path).lengths.astype(np.int64) for path in paths]

    @property
    def tokens(self) -> int:
        return sum(map(len, self.payloads))

    @property
    def payload_bytes(self) -> int:
        return sum(payload.nbytes for payload in self.payloads)


Expect = Callable[[Shards, Path, int], Found]


def every_token(shards: Shards, _: Path, __: int) -> Found:
    return _sum(shards.payloads)


def windows_of_files(shards: Shards, _: Path, length: int) -> Found:
    return _sum(payload[: len(payload) // length * length] for payload in shards.payloads)


def windows_of_all(shards: Shards, _: Path, length: int) -> Found:
    stream = np.concatenate(shards.payloads)
    return _sum([stream[: len(stream) // length * length]])


def batches_of_all(shards: Shards, _: Path, length: int, rows: int = 32) -> Found:
    """Our loader's: whole batches of windows, each of which reads one token more."""
    stream = np.concatenate(shards.payloads)
    return _sum([stream[: (len(stream) - 1) // (rows * length) * rows * length]])


def blocks_of_chunks(shards: Shards, directory: Path, length: int) -> Found:
    """litdata's: what fills no block is left out at the end of every chunk."""
    stream = np.concatenate(shards.payloads)
    ends = np.cumsum([chunk["dim"] for chunk in json.loads((directory / "index.json").read_text())["chunks"]])
    assert ends[-1] == len(stream)
    return _sum(chunk[: len(chunk) // length * length] for chunk in np.split(stream, ends[:-1]))


def some_documents(counts: list[int]) -> list[tuple[int, int]]:
    """(shard, document) of 2,000 documents or all, in a random order that is always the same."""
    every = [(shard, document) for shard, count in enumerate(counts) for document in range(count)]
    return [every[i] for i in np.random.default_rng(0).permutation(len(every))[:2000]]


def documents_anywhere(shards: Shards, _: Path, __: int) -> Found:
    pieces = []
    payloads, lengths = shards.payloads, shards.lengths
    for shard, document in some_documents([len(found) for found in lengths]):
        start = int(lengths[shard][:document].sum())
        pieces.append(payloads[shard][start : start + lengths[shard][document]])
    return _sum(pieces)


def without_ends(shards: Shards, _: Path, __: int) -> Found:
    """catid's: no end-of-document ids."""
    return _sum(payload[payload != shards.eod] for payload in shards.payloads)


def batches_of_files(shards: Shards, directory: Path, length: int, rows: int = 8) -> Found:
    """llm.c's: the id before every document, whole batches of every file, one token more than they hold."""
    stream = np.concatenate(shards.payloads)
    moved = np.concatenate(([shards.eod], stream[:-1]))
    batch, start = rows * length, 0
    pieces = []
    for path in sorted(directory.glob("*.bin")):
        count = int(np.fromfile(path, dtype="<i4", count=3)[2])
        pieces.append(moved[start : start + (count - 1) // batch * batch])
        start += count
    assert start == len(stream)
    return _sum(pieces)


def epoch_of_samples(shards: Shards, _: Path, length: int) -> Found:
    """GPTDataset's: documents are shuffled, and which tokens are left over at the end with them."""
    return (shards.tokens - 1) // length * length, UNKNOWN


def _sum(pieces: Iterator[Tokens] | list[Tokens]) -> Found:
    count = total = 0
    for piece in pieces:
        count += len(piece)
        total += int(piece.sum(dtype=np.int64))
    return count, total
