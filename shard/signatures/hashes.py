"""Hashes of words and of whole documents (pure)."""

import numpy as np
import xxhash
from numpy.typing import NDArray

from shard.signatures.words import Words

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_OTHER_FACTOR = np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)
_LONG = 64
"""Bytes from which on a word is hashed by itself, so that one of a megabyte does not cost 131,072 rounds."""
_MASKS = np.array([(1 << (8 * count)) - 1 for count in range(9)], dtype=np.uint64)


def exact_keys(words: Words) -> NDArray[np.uint64]:
    """[documents, 2] uint64: xxh3-128 of every document's normal form, low half first."""
    documents = len(words.offsets) - 1
    digests = b"".join(xxhash.xxh3_128_digest(words.text(index)) for index in range(documents))
    # The digest has its high half first, big-endian.
    return np.ascontiguousarray(np.frombuffer(digests, dtype=">u8").reshape(documents, 2)[:, ::-1]).astype(np.uint64)


def word_hashes(words: Words) -> NDArray[np.uint64]:
    """[words] uint64, of each word's bytes and length: eight bytes of all words at a time."""
    # [bytes / 8 + 2] uint64: aligned, and room to read past the last byte
    padded = np.zeros((len(words.data) // 8 + 2) * 8, dtype=np.uint8)
    padded[: len(words.data)] = words.data
    eights = padded.view("<u8").astype(np.uint64, copy=False)
    hashes = mixed(words.lengths.astype(np.uint64))
    active = np.flatnonzero(words.lengths < _LONG)
    starts, left = words.starts[active], words.lengths[active]
    while len(active):
        values = _unaligned(eights, starts) & _MASKS[np.minimum(left, 8)]
        hashes[active] = mixed(hashes[active] ^ values)
        more = left > 8
        active, starts, left = active[more], starts[more] + 8, left[more] - 8
    view = words.data.data
    for word in np.flatnonzero(words.lengths >= _LONG).tolist():
        start = int(words.starts[word])
        hashes[word] = xxhash.xxh3_64_intdigest(view[start : start + int(words.lengths[word])])
    return hashes


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection of 64 bits after which every bit depends on all."""
    values = (values ^ (values >> _SHIFT)) * _FACTOR
    values = (values ^ (values >> _SHIFT)) * _OTHER_FACTOR
    values ^= values >> _SHIFT
    return values


def combined(values: NDArray[np.uint64], count: int) -> NDArray[np.uint64]:
    """[n - count + 1] uint64: a hash of every `count` neighbours, in their order."""
    many = len(values) - count + 1
    hashes = values[:many].copy()
    for place in range(1, count):
        hashes *= _FACTOR
        hashes += values[place : place + many]
    return mixed(hashes)


def _unaligned(eights: NDArray[np.uint64], starts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """[n] uint64: the eight bytes from each place on, little-endian."""
    index, shift = starts >> 3, ((starts & 7) << 3).astype(np.uint64)
    # In two shifts: one of 64 bits is none at all.
    found: NDArray[np.uint64] = (eights[index] >> shift) | (
        eights[index + 1] << (np.uint64(63) - shift) << np.uint64(1)
    )
    return found
