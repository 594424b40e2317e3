"""Cutting what lies back to back into runs of about one size (pure)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def runs_of(offsets: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """[start, end) ranges of items, `offsets` [items + 1] ascending, of at most so much together, but at least one."""
    start, last = 0, len(offsets) - 1
    while start < last:
        end = int(np.searchsorted(offsets, offsets[start] + most, side="right")) - 1
        end = max(end, start + 1)
        yield start, end
        start = end
