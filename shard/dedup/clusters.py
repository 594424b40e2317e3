"""Pairs of documents → which of them are alike enough, and which documents hang together."""

import numpy as np
from numpy.typing import NDArray

from shard.dedup.groups import Pairs

_COMPARED = 1 << 16
"""Pairs whose signatures are held at a time, 512 bytes each."""
_LINKED = 1 << 20
"""Pairs that are linked at a time, 100 bytes each."""


def alike(
    pairs: Pairs, documents: NDArray[np.int64], signatures: NDArray[np.uint32], least_equal: int
) -> NDArray[np.bool_]:
    """[pairs] bool: whose signatures have so many values in common.

    `documents`, ascending, are those that `signatures`, [documents, permutations], are of.
    """
    found = np.empty(len(pairs), dtype=np.bool_)
    for start in range(0, len(pairs), _COMPARED):
        # [pairs, 2] places in `documents`
        places = np.searchsorted(documents, pairs[start : start + _COMPARED])
        equal = signatures[places[:, 0]] == signatures[places[:, 1]]
        found[start : start + _COMPARED] = np.count_nonzero(equal, axis=1) >= least_equal
    return found


class Clusters:
    """What hangs together, of pairs that come some at a time and are not kept: 16 bytes for each document, no pair.

    It does not matter in which order the pairs come.
    """

    def __init__(self, documents: NDArray[np.int64]) -> None:
        """Documents, ascending, that are in any pair: each a cluster by itself."""
        self.documents = documents
        # [documents] the place of a lower one of the same cluster, or its own place for the lowest
        self._lower = np.arange(len(documents))

    def link(self, pairs: Pairs) -> None:
        """Make one of the clusters of each pair."""
        for start in range(0, len(pairs), _LINKED):
            places = np.searchsorted(self.documents, pairs[start : start + _LINKED])
            lowest = self._followed(places)
            self._lower[places] = lowest  # so that no path grows long
            some, smallest = _smallest_of(lowest)
            self._lower[some] = smallest

    def smallest(self) -> NDArray[np.int64]:
        """[documents] of each the lowest number of its cluster."""
        return self.documents[self._followed(self._lower)]

    def _followed(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        while not np.array_equal(lower := self._lower[places], places):
            places = lower
        return places


def _smallest_of(pairs: Pairs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(numbers, ascending, of all pairs; for each the lowest among those it hangs together with).

    Labels sink along pairs and are then followed to their end, until nothing changes. After Shiloach and Vishkin, "An
    O(log n) parallel connectivity algorithm" (1982).
    """
    numbers = np.unique(pairs)
    # [pairs] places in `numbers`
    left, right = np.searchsorted(numbers, pairs[:, 0]), np.searchsorted(numbers, pairs[:, 1])
    labels = np.arange(len(numbers))
    while True:
        before = labels.copy()
        lower = np.minimum(labels[left], labels[right])
        np.minimum.at(labels, before[left], lower)
        np.minimum.at(labels, before[right], lower)
        while not np.array_equal(further := labels[labels], labels):
            labels = further
        if np.array_equal(labels, before):
            return numbers, numbers[labels]
