"""Ids of other tools, a block of whole documents at a time → payloads, checked."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.errors import SourceError
from shard.formats.payload import DTYPES, Payload
from shard.records.job import TokenizerSpec

BLOCK_TOKENS = 4 << 20
"""At about which a block ends; a longer document is a block by itself."""
_MOST_TOKENS = (1 << 31) - 1
"""Of a document: more an index of Megatron's cannot say."""
LONGEST_TOKENS = 1 << 27
"""Of a document that only an id ends, or that is compressed: a file without that id, or a frame that claims to be vast,
must not be taken into memory to say so."""


@dataclass(frozen=True, slots=True)
class Documents:
    """As they stand in a file of another tool."""

    ids: NDArray[Any]
    """[tokens] of any integer type."""
    offsets: NDArray[np.int64]
    """[documents + 1] where each begins in `ids`; the first is 0."""


def chunks(path: Path, dtype: np.dtype[Any], *, skip: int = 0) -> Iterator[NDArray[Any]]:
    """The ids of a file behind its first `skip` bytes. Raises SourceError when its end is not that of an id."""
    size = path.stat().st_size - skip
    if size % dtype.itemsize:
        raise SourceError(f"{path}: {size} bytes of ids are no multiple of {dtype.itemsize}: cut short, or other ids")
    with path.open("rb") as file:
        file.seek(skip)
        while len(ids := np.fromfile(file, dtype=dtype, count=BLOCK_TOKENS)):
            yield ids


def by_lengths(path: Path, dtype: np.dtype[Any], lengths: NDArray[Any], index: Path) -> Iterator[Documents]:
    """The documents of a file of nothing but ids.

    `lengths` [documents] is in tokens, as `index` has them. Raises SourceError when they are not those of the file.
    """
    for document in (int(lengths.argmin()), int(lengths.argmax())) if len(lengths) else ():
        if not 0 <= lengths[document] <= _MOST_TOKENS:
            raise SourceError(f"{index}: document {document} has {lengths[document]} tokens, of 0 to {_MOST_TOKENS}")
    tokens, size = int(lengths.sum(dtype=np.int64)), path.stat().st_size
    if size != tokens * dtype.itemsize:
        raise SourceError(
            f"{path}: {size} bytes; {index.name} has documents of {tokens} tokens of {dtype.itemsize} bytes, which are "
            f"{tokens * dtype.itemsize}: one of the two is cut short, or they belong to others"
        )
    with path.open("rb") as file:
        for some in _cut(lengths):
            offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(some, dtype=np.int64)))
            ids = np.fromfile(file, dtype=dtype, count=int(offsets[-1]))
            if len(ids) != offsets[-1]:
                raise SourceError(f"{path}: became shorter while it was read")
            yield Documents(ids, offsets)


def by_end(ids: Iterable[NDArray[Any]], eod: int, where: str) -> Iterator[Documents]:
    """The documents of a stream of ids, each to its end-of-document id.

    Raises SourceError, beginning with `where`, when the last has none, or none comes for very long.
    """
    held: list[NDArray[Any]] = []
    for chunk in ids:
        # [documents that end here] just past their ends
        ends = np.flatnonzero(chunk == eod) + 1
        before = sum(map(len, held))
        if not len(ends):
            held.append(chunk)
            if before + len(chunk) > LONGEST_TOKENS:
                break
            continue
        yield Documents(
            np.concatenate([*held, chunk[: ends[-1]]]), np.concatenate((np.zeros(1, np.int64), before + ends))
        )
        held = [chunk[ends[-1] :]] if ends[-1] < len(chunk) else []
    if held:
        raise SourceError(
            f"{where}: its last {sum(map(len, held)):,} tokens or more have no end-of-document id ({eod}) behind them: "
            "cut short, made with another tokenizer, or with another --eod"
        )


def checked(documents: Documents, tokenizer: TokenizerSpec, never_text: int | None, where: str) -> Payload:
    """The documents as they will lie in a shard.

    Raises SourceError, beginning with `where`, for ids outside the vocabulary, a document that does not end with the
    end-of-document id, and one that has the id `never_text` before its end.
    """
    ids, offsets = documents.ids, documents.offsets
    if len(ids) and (ids.min() < 0 or ids.max() >= tokenizer.vocab_size):
        position = int(np.flatnonzero((ids < 0) | (ids >= tokenizer.vocab_size))[0])
        raise SourceError(
            f"{where}: id {ids[position]} in a document of {_length_at(offsets, position):,} tokens is outside the "
            f"vocabulary of {tokenizer.name} ({tokenizer.vocab_size}): of another tokenizer, or of other bytes per id"
        )
    eod = tokenizer.eod_id
    if eod is not None:
        lengths = np.diff(offsets)
        ended = ids[offsets[1:] - 1] == eod if len(ids) else np.zeros(len(lengths), np.bool_)
        if not (ended & (lengths > 0)).all():
            raise SourceError(
                f"{where}: a document does not end with the end-of-document id ({eod}); give the right --eod, or --eod "
                "none for files that have none"
            )
        if never_text == eod and np.count_nonzero(ids == eod) != len(lengths):
            raise SourceError(
                f"{where}: the end-of-document id ({eod}) stands inside a document, where no text of "
                f"{tokenizer.name} puts it; --format nanogpt takes each for an end"
            )
    return Payload(ids.astype(DTYPES[tokenizer.dtype], copy=False), offsets)


def _length_at(offsets: NDArray[np.int64], position: int) -> int:
    document = int(np.searchsorted(offsets, position, side="right")) - 1
    return int(offsets[document + 1] - offsets[document])


def _cut(lengths: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """[documents] in pieces of about as many tokens as a block, of as many documents at most."""
    for first in range(0, len(lengths), BLOCK_TOKENS):
        some = lengths[first : first + BLOCK_TOKENS]
        ends = np.cumsum(some, dtype=np.int64)
        start = 0
        while start < len(some):
            before = int(ends[start - 1]) if start else 0
            end = max(start + 1, int(np.searchsorted(ends, before + BLOCK_TOKENS, side="right")))
            yield some[start:end]
            start = end
