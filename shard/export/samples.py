"""Documents → what a format calls a sample: each document, or windows of equal length cut from all of them in a row."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.storage.stored import Stored

Rows = NDArray[Any]
"""[samples, context length]"""


def windows(stored: Stored, context_length: int) -> Iterator[Rows]:
    """Windows that do not overlap, many at a time; the end that fills none is left out: see `left_over`."""
    left: NDArray[Any] = np.empty(0, dtype=stored.record.dtype)
    for block in stored.blocks():
        tokens = np.concatenate((left, block.tokens))
        whole = len(tokens) // context_length
        if whole:
            yield tokens[: whole * context_length].reshape(whole, context_length)
        left = tokens[whole * context_length :].copy()


def left_over(stored: Stored, context_length: int | None) -> int:
    """Tokens in no sample."""
    return 0 if context_length is None else stored.tokens % context_length


def documents(stored: Stored) -> Iterator[NDArray[Any]]:
    """Every document, end-of-document id included."""
    for block in stored.blocks():
        for start, end in pairwise(block.offsets.tolist()):
            yield block.tokens[start:end]
