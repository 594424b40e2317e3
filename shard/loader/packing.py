"""Documents of a shard → rows: the packings that need a pack index (pure).

Pieces never leave their shard, so shards are packed one by one. A piece has the tokens of a document, end-of-document
id included, or of a part of one that is longer than the context: such are cut into full rows, and what is left.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.loader.packindex import CONTINUES, GOES_ON, PIECE, Rows

Pack = Callable[["Pieces", int, int], Rows]
"""(pieces, context length, multiple) → rows."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """What is to be packed, in dataset order."""

    places: NDArray[np.int64]
    """[pieces] first token * 4 + flags."""
    lengths: NDArray[np.int64]
    """[pieces] tokens, at most the context length."""


def cut(starts: NDArray[np.int64], context_length: int) -> Pieces:
    """Pieces of documents that begin at these tokens of the directory, [documents + 1]; empty ones have none."""
    lengths = np.diff(starts)
    counts = -(-lengths // context_length)
    # [pieces] which document, and which of its pieces
    document = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)
    begins = starts[:-1][document] + number * context_length
    ends = np.minimum(begins + context_length, starts[1:][document])
    flags = np.where(number > 0, CONTINUES, 0) | np.where(ends < starts[1:][document], GOES_ON, 0)
    return Pieces(begins * 4 + flags, ends - begins)


def pack_in_order(pieces: Pieces, context_length: int, multiple: int) -> Rows:
    """Rows in dataset order: a piece goes into the row where it fits behind the one before it and at least one slot of
    padding, else into the next."""
    if not len(pieces.lengths):
        return _rows(pieces, np.empty(0, np.int64), np.empty(0, np.int64))
    # Slots up to the next piece, and those that its tokens need
    spaced = -(-(pieces.lengths + 1) // multiple) * multiple
    needed = -(-pieces.lengths // multiple) * multiple
    begins = np.cumsum(spaced) - spaced
    # [pieces] the first piece of the next row, for a row that begins with this one; a long piece is a row by itself
    following = np.searchsorted(begins + needed, begins + context_length, side="right").tolist()
    first, row_firsts = 0, []
    while first < len(following):
        row_firsts.append(first)
        first = following[first]
    firsts = np.array(row_firsts)
    row = np.repeat(np.arange(len(firsts)), np.diff(firsts, append=len(begins)))
    return _rows(pieces, row, begins - begins[firsts][row])


def pack_best_fit(pieces: Pieces, context_length: int, multiple: int) -> Rows:
    """Few rows: longest first, each into the fullest row that has room (best-fit decreasing, as in Ding et al., "Fewer
    truncations improve language modeling", 2024)."""
    sizes = -(-pieces.lengths // multiple) * multiple
    order = np.argsort(-sizes, kind="stable")
    # Rows by the room that is left in them, and a bit for every room that some row has
    rooms: list[list[int]] = [[] for _ in range(context_length + 1)]
    bits, rows = 0, 0
    row_of, column_of = [], []
    for size in sizes[order].tolist():
        fitting = bits >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            row = rooms[room].pop()
            if not rooms[room]:
                bits ^= 1 << room
        else:
            row, room = rows, context_length
            rows += 1
        row_of.append(row)
        column_of.append(context_length - room)
        if room > size:
            rooms[room - size].append(row)
            bits |= 1 << (room - size)
    row_array, columns = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    row_array[order], columns[order] = row_of, column_of
    return _rows(pieces, row_array, columns)


def aligned_starts(starts: NDArray[np.int64], context_length: int, first: int) -> NDArray[np.int64]:
    """[rows] beginnings of documents, the first at `first` or after it and each at least a context length after the
    one before it; of documents that begin at these tokens."""
    following = np.searchsorted(starts, starts + context_length).tolist()
    at = int(np.searchsorted(starts, first))
    chosen = []
    while at < len(following):
        chosen.append(at)
        at = following[at]
    return starts[np.array(chosen, dtype=np.int64)]


PACKINGS: dict[str, Pack] = {"best_fit": pack_best_fit, "pad": pack_in_order}


def _rows(pieces: Pieces, row: NDArray[np.int64], columns: NDArray[np.int64]) -> Rows:
    """Sorted by row and column."""
    order = np.lexsort((columns, row))
    records: NDArray[Any] = np.empty(len(order), dtype=PIECE)
    records["place"] = pieces.places[order]
    records["length"] = pieces.lengths[order]
    records["column"] = columns[order]
    return Rows(records, np.bincount(row) if len(row) else np.empty(0, np.int64))
