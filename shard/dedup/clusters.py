"""Pairs of documents → which of them are alike enough, and which documents hang together (pure)."""

import numpy as np
from numpy.typing import NDArray

from shard.dedup.groups import Pairs

_COMPARED = 1 << 16
"""Pairs whose signatures are held at a time, 512 bytes each."""


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


def smallest_of(pairs: Pairs) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(documents, ascending, of all pairs; for each the lowest number among those it hangs together with).

    Labels sink along pairs and are then followed to their end, until nothing changes: it does not matter in which order
    the pairs come. After Shiloach and Vishkin, "An O(log n) parallel connectivity algorithm" (1982).
    """
    documents = np.unique(pairs)
    # [pairs] places in `documents`
    left, right = np.searchsorted(documents, pairs[:, 0]), np.searchsorted(documents, pairs[:, 1])
    labels = np.arange(len(documents))
    while True:
        before = labels.copy()
        lower = np.minimum(labels[left], labels[right])
        np.minimum.at(labels, before[left], lower)
        np.minimum.at(labels, before[right], lower)
        while not np.array_equal(further := labels[labels], labels):
            labels = further
        if np.array_equal(labels, before):
            return documents, documents[labels]
