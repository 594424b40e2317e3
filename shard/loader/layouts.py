"""A packing's name → what its samples are made of."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shard.errors import LoaderError
from shard.loader.packed import PackedRows
from shard.loader.packindex import PIECE, Rows, pack_index
from shard.loader.packing import PACKINGS, aligned_starts, cut
from shard.loader.reader import Reader
from shard.loader.windows import Layout, aligned_windows, concat_windows

PACKING_NAMES = ("concat", "bos_aligned", *PACKINGS)


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How samples are to be made."""

    name: str
    context_length: int
    multiple: int
    """Slots that documents take a multiple of."""
    cache_dir: Path | None

    def __post_init__(self) -> None:
        if self.name not in PACKING_NAMES:
            raise LoaderError(f"packing {self.name!r}: one of {', '.join(PACKING_NAMES)}")
        if self.context_length < 1:
            raise LoaderError(f"context_length {self.context_length}: not positive")
        if self.multiple < 1 or self.context_length % self.multiple:
            raise LoaderError(f"pad_documents_to {self.multiple}: does not divide context_length {self.context_length}")
        if self.multiple > 1 and self.name not in PACKINGS:
            raise LoaderError(f"pad_documents_to {self.multiple}: packing {self.name!r} has no padding; use 'best_fit'")

    @property
    def spelled(self) -> str:
        """Name and multiple: "best_fit", "pad/16"."""
        return self.name if self.multiple == 1 else f"{self.name}/{self.multiple}"


def layout_of(packing: Packing, reader: Reader, documents: tuple[int, int], identity: str) -> Layout:
    """The layout of documents [first, last) of a directory.

    `identity` names the pack index, which is made now where there is none. Raises LoaderError, ShardChangedError.
    """
    length = packing.context_length
    tokens = reader.token_of(documents[0]), reader.token_of(documents[1])
    if packing.name == "concat":
        return concat_windows(length, *tokens)
    directory = packing.cache_dir or _user_cache()
    if packing.name == "bos_aligned":
        index = pack_index(directory, identity, lambda: _aligned(reader, documents, length, tokens[1]))
        return aligned_windows(length, index, tokens[1] - tokens[0])
    pack = PACKINGS[packing.name]
    index = pack_index(
        directory,
        identity,
        lambda: (pack(cut(starts, length), length, packing.multiple) for starts in _by_shard(reader, documents)),
    )
    return PackedRows(length, index)


def _by_shard(reader: Reader, documents: tuple[int, int]) -> Iterator[NDArray[np.int64]]:
    """[documents of a shard + 1] where they begin in the directory, and where the last one ends; shard by shard."""
    bounds = reader.document_starts
    for shard in range(len(reader.shards)):
        first, last = max(documents[0], int(bounds[shard])), min(documents[1], int(bounds[shard + 1]))
        if first < last:
            with reader.lock:
                starts = reader.with_index(shard).starts(first - int(bounds[shard]), last - int(bounds[shard]))
            yield starts + reader.token_starts[shard]


def _aligned(reader: Reader, documents: tuple[int, int], length: int, end: int) -> Iterator[Rows]:
    """One piece a row, as long as the rows are whole."""
    at = 0
    for starts in _by_shard(reader, documents):
        chosen = aligned_starts(starts[:-1], length, at)
        if len(chosen):
            at = int(chosen[-1]) + length
        chosen = chosen[chosen + length < end]
        records = np.zeros(len(chosen), dtype=PIECE)
        records["place"] = chosen * 4
        records["length"] = length
        yield Rows(records, np.ones(len(chosen), dtype=np.int64))


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shardfleet" / "packs"
