"""Which sample stands at which place of an epoch (pure)."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shard.errors import LoaderError
from shard.loader.permutation import Key, key_of, permute, permute_blocks

Shuffle = Literal["full", "block", "none"]


def _in_order(places: NDArray[np.int64], n: int, key: Key) -> NDArray[np.int64]:
    return places


SHUFFLES: dict[str, Callable[[NDArray[np.int64], int, Key], NDArray[np.int64]]] = {
    "full": permute,
    "block": permute_blocks,
    "none": _in_order,
}


def order(
    places: NDArray[np.int64], n: int, shuffle: Shuffle, *, seed: int, epoch: int, source: int = 0
) -> NDArray[np.int64]:
    """[k] the samples of [0, n) at these places of an epoch of a source."""
    return SHUFFLES[shuffle](places, n, key_of(seed, epoch, source))


def require_shuffle(shuffle: str, seed: int) -> None:
    """Raises LoaderError."""
    if shuffle not in SHUFFLES:
        raise LoaderError(f"shuffle {shuffle!r}: one of {', '.join(SHUFFLES)}")
    if not 0 <= seed < 1 << 63:
        raise LoaderError(f"seed {seed}: not in [0, 2^63)")
