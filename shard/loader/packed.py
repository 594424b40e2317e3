"""Packing by whole documents: rows of pieces, filled up with padding, as a pack index says."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.loader.packindex import CONTINUES, GOES_ON, PackIndex
from shard.loader.reader import Reader
from shard.loader.segments import Segments


class PackedRows:
    """Samples that are rows of a pack index."""

    padded = True
    left_out = 0

    def __init__(self, context_length: int, index: PackIndex) -> None:
        self.samples = index.rows
        self._length = context_length
        self._index = index

    def read(self, reader: Reader, samples: NDArray[np.int64], out: NDArray[Any]) -> None:
        row, pieces = self._index.pieces(samples)
        starts, flags = pieces["place"] >> 2, pieces["place"] & 3
        # A piece that fills its row, cut from a longer document: the label of its last slot is the token after it.
        lengths = pieces["length"] + ((flags & GOES_ON) > 0)
        columns = pieces["column"]
        targets = [
            out[r, column : column + length]
            for r, column, length in zip(row.tolist(), columns.tolist(), lengths.tolist(), strict=True)
        ]
        reader.read(starts, targets)

    def will_need(self, reader: Reader, samples: NDArray[np.int64]) -> None:
        _, pieces = self._index.pieces(samples)
        reader.will_need(pieces["place"] >> 2, pieces["length"].astype(np.int64))

    def segments(self, reader: Reader, samples: NDArray[np.int64]) -> Segments:
        row, pieces = self._index.pieces(samples)
        flags = pieces["place"] & 3
        first = np.searchsorted(row, np.arange(len(samples)))
        return Segments(
            rows=len(samples),
            context_length=self._length,
            starts=row * self._length + pieces["column"],
            filled=pieces["length"].astype(np.int64),
            ends_document=(flags & GOES_ON) == 0,
            is_continuation=(flags[first] & CONTINUES) > 0,
        )

    def runs(self, sample: int) -> list[tuple[int, int, int]]:
        _, pieces = self._index.pieces(np.array([sample]))
        columns, starts, lengths = pieces["column"].tolist(), (pieces["place"] >> 2).tolist(), pieces["length"].tolist()
        return list(zip(columns, starts, lengths, strict=True))
