"""Orders of samples that are computed, not stored: a pure function from place to sample (pure).

`permute` is a Feistel network over Z_a x Z_b, a and b near the root of n, with cycle walking: places that fall outside
[0, n) go through the network again (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). Only integer
arithmetic modulo 2^64, keys by BLAKE2b: the same order on every platform and with every version of numpy.
"""

import hashlib
from math import isqrt

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
"""By the mixing of batches, six are as good as Fisher and Yates; two are not."""
BLOCK_SAMPLES = 2048
"""Neighbours that the block order keeps together."""

Key = tuple[int, ...]
"""One 64-bit key for each round."""

_GOLDEN = 0x9E3779B97F4A7C15
_HALF = np.uint64(32)


def key_of(seed: int, epoch: int, source: int, purpose: bytes = b"samples") -> Key:
    """The key of one source's order in one epoch. All are below 2^63; orders of two purposes are unrelated."""
    message = b"".join(value.to_bytes(8, "little") for value in (seed, epoch, source))
    digest = hashlib.blake2b(message, digest_size=8 * ROUNDS, person=purpose).digest()
    return tuple(int.from_bytes(digest[at : at + 8], "little") for at in range(0, len(digest), 8))


def permute(places: NDArray[np.int64], n: int, key: Key, tweak: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """[k] int64: what stands at these places, each in [0, n), of a permutation of [0, n); n up to 2^62.

    `tweak`, [k], chooses another permutation for each of its values.
    """
    b = isqrt(max(n - 1, 0)) + 1
    a = -(-n // b)
    found = places.astype(np.uint64)
    tweaks = None if tweak is None else tweak.astype(np.uint64) * np.uint64(_GOLDEN)
    _network(found, a, b, key, tweaks)
    outside = np.flatnonzero(found >= n)
    while len(outside):
        again = found[outside]
        _network(again, a, b, key, None if tweaks is None else tweaks[outside])
        found[outside] = again
        outside = outside[again >= n]
    return found.view(np.int64)


def permute_blocks(places: NDArray[np.int64], n: int, key: Key, block: int = BLOCK_SAMPLES) -> NDArray[np.int64]:
    """As `permute`, but blocks of neighbours stay together: the blocks are permuted, and each inside.

    What fills no block comes last, permuted inside.
    """
    whole = n // block
    ordinals, inside = np.divmod(places, block)
    found = np.empty_like(places)
    full = ordinals < whole
    if full.any():
        moved = permute(ordinals[full], whole, key)
        found[full] = moved * block + permute(inside[full], block, key, moved + 1)
    if not full.all():
        found[~full] = whole * block + permute(inside[~full], n - whole * block, key)
    return found


def _network(places: NDArray[np.uint64], a: int, b: int, key: Key, tweaks: NDArray[np.uint64] | None) -> None:
    """All rounds, in place."""
    size_a, size_b = np.uint64(a), np.uint64(b)
    left, right = np.divmod(places, size_b)
    for number, round_key in enumerate(key):
        half, other, size = (left, right, size_a) if number % 2 == 0 else (right, left, size_b)
        half += _below(_mixed(other, round_key, tweaks), size)
        half -= size * (half >= size)
    np.multiply(left, size_b, out=places)
    places += right


def _mixed(values: NDArray[np.uint64], key: int, tweaks: NDArray[np.uint64] | None) -> NDArray[np.uint64]:
    """64 bits that depend on all of a value's and the key's: the finalizer of SplitMix64 (Steele et al., 2014)."""
    mixed = values + np.uint64(key) if tweaks is None else values + np.uint64(key) + tweaks
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _below(values: NDArray[np.uint64], size: np.uint64) -> NDArray[np.uint64]:
    """The upper 32 bits, scaled to [0, size), size up to 2^32 (Lemire, 2019)."""
    return ((values >> _HALF) * size) >> _HALF
