"""Packing without padding: samples are windows over the tokens of all documents in a row."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shard.loader.packindex import PackIndex
from shard.loader.reader import Reader
from shard.loader.segments import Segments

StartsOf = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""[n] samples → [n] their first tokens in the directory."""


class Layout(Protocol):
    """What a sample is made of: one class for each kind of packing."""

    samples: int
    padded: bool
    left_out: int
    """Tokens that are the input of no sample."""

    def read(self, reader: Reader, samples: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Fill `out`, [n, context length + 1] of the payload's dtype; slots without a token keep what is there."""

    def will_need(self, reader: Reader, samples: NDArray[np.int64]) -> None:
        """Begin to bring them into memory."""

    def segments(self, reader: Reader, samples: NDArray[np.int64]) -> Segments:
        """Where documents lie in them."""

    def runs(self, sample: int) -> list[tuple[int, int, int]]:
        """(first slot, first token in the directory, tokens) of what a sample is made of."""


class Windows:
    """Samples that are `context_length + 1` tokens in a row."""

    padded = False

    def __init__(self, context_length: int, samples: int, tokens: int, starts_of: StartsOf) -> None:
        """Of so many tokens, from the starts that `starts_of` gives."""
        self.samples = samples
        self.left_out = tokens - samples * context_length
        self._length = context_length
        self._starts_of = starts_of

    def read(self, reader: Reader, samples: NDArray[np.int64], out: NDArray[Any]) -> None:
        reader.read(self._starts_of(samples), list(out))

    def will_need(self, reader: Reader, samples: NDArray[np.int64]) -> None:
        starts = self._starts_of(samples)
        reader.will_need(starts, np.full_like(starts, self._length + 1))

    def segments(self, reader: Reader, samples: NDArray[np.int64]) -> Segments:
        found = reader.find(self._starts_of(samples), self._length)
        return _segments(self._length, [item.starts for item in found], [item.within for item in found])

    def runs(self, sample: int) -> list[tuple[int, int, int]]:
        return [(0, int(self._starts_of(np.array([sample]))[0]), self._length)]


def concat_windows(context_length: int, first: int, last: int) -> Windows:
    """Windows over tokens [first, last) of the directory; each begins with the last token of the one before it, so that
    every token is a label once, but for the very first."""
    samples = max(0, (last - first - 1) // context_length)
    return Windows(context_length, samples, last - first, lambda chosen: first + chosen * context_length)


def aligned_windows(context_length: int, index: PackIndex, tokens: int) -> Windows:
    """Windows that begin with documents, from a pack index of one piece a row."""
    return Windows(context_length, index.rows, tokens, lambda chosen: index.records["place"][chosen] >> 2)


def _segments(length: int, starts: Sequence[NDArray[np.int64]], within: Sequence[bool]) -> Segments:
    """Of windows with documents beginning at these places in (0, length]."""
    rows = len(starts)
    row_starts = np.arange(rows, dtype=np.int64) * length
    # [found] slots in the flattened batch; a place of `length` is the next row's first slot
    counts = np.fromiter((len(found) for found in starts), dtype=np.int64, count=rows)
    places = np.concatenate(starts)
    at_end = places == length
    slots = places + np.repeat(row_starts, counts)
    row_of = np.repeat(np.arange(rows), counts)
    closed = np.zeros(rows, dtype=np.bool_)
    closed[row_of[at_end]] = True
    every = np.concatenate((row_starts, slots[~at_end]))
    every.sort()
    # A document without tokens begins where the next one does.
    every = every[np.append(True, every[1:] != every[:-1])]
    ends_document = np.ones(len(every), dtype=np.bool_)
    last = np.searchsorted(every, row_starts[1:]) - 1
    ends_document[np.append(last, len(every) - 1)] = closed
    return Segments(
        rows=rows,
        context_length=length,
        starts=every,
        filled=None,
        ends_document=ends_document,
        is_continuation=np.array(within, dtype=np.bool_),
    )
