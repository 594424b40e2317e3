"""MinHash signatures of batches, and the band keys under which documents meet (pure).

The n-grams of a document are 32-bit hashes of consecutive words; permutation i takes g to a_i·g + b_i mod 2^32 with odd
a_i, and value i of a signature is the least of these. After Broder, "On the resemblance and containment of documents"
(1997); bands after Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3.4.
"""

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shard.records.dedup import Scheme, Settings
from shard.runs import runs_of
from shard.signatures.hashes import combined, mixed, word_hashes
from shard.signatures.words import Words

NO_VALUE = 0xFFFFFFFF
"""All values of a signature that stands for none: the document has fewer words than an n-gram."""

_BLOCK_GRAMS = 1 << 15
"""Grams that pass through all permutations together: with their products, what a core's second cache holds."""


def signatures_of(words: Words, scheme: Scheme) -> NDArray[np.uint32]:
    """[documents, permutations] uint32: the signature of every document."""
    documents = len(words.first) - 1
    signatures = np.full((documents, scheme.num_perm), NO_VALUE, dtype=np.uint32)
    # [documents] int64: grams of each, those without any left out from here on
    counts = np.diff(words.first) - (scheme.ngram - 1)
    able = np.flatnonzero(counts > 0)
    if not len(able):
        return signatures
    counts = counts[able]
    every = (combined(word_hashes(words), scheme.ngram) >> np.uint64(32)).astype(np.uint32)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    # Grams that reach into the next document are left out.
    firsts = words.first[:-1][able]
    grams = every[np.arange(offsets[-1]) + np.repeat(firsts - offsets[:-1], counts)]
    for start, end in runs_of(offsets, _BLOCK_GRAMS):
        block = grams[offsets[start] : offsets[end]]
        signatures[able[start:end]] = _least(block, offsets[start:end] - offsets[start], scheme)
    return signatures


def band_keys(signatures: NDArray[np.uint32], settings: Settings) -> NDArray[np.uint64]:
    """[documents, bands] uint64: a hash of each band's values and its number."""
    documents = len(signatures)
    rows = signatures[:, : settings.bands * settings.rows].reshape(documents, settings.bands, settings.rows)
    keys = np.tile(mixed(np.arange(1, settings.bands + 1, dtype=np.uint64)), (documents, 1))
    for row in range(settings.rows):
        keys = mixed(keys ^ rows[:, :, row])
    return keys


def has_signature(keys: NDArray[np.uint64], settings: Settings) -> NDArray[np.bool_]:
    """[documents] bool: which band keys are of signatures that stand for n-grams."""
    none = band_keys(np.full((1, settings.scheme.num_perm), NO_VALUE, dtype=np.uint32), settings)
    found: NDArray[np.bool_] = (keys != none).any(axis=1)
    return found


def _least(grams: NDArray[np.uint32], starts: NDArray[np.int64], scheme: Scheme) -> NDArray[np.uint32]:
    """[documents, permutations] uint32, of documents whose grams begin at `starts`."""
    least = np.empty((scheme.num_perm, len(starts)), dtype=np.uint32)
    values = np.empty_like(grams)
    for number, (factor, term) in enumerate(_permutations(scheme.num_perm, scheme.seed)):
        np.multiply(grams, factor, out=values)
        np.add(values, term, out=values)
        np.minimum.reduceat(values, starts, out=least[number])
    return least.T


@lru_cache(maxsize=4)
def _permutations(count: int, seed: int) -> tuple[tuple[np.uint32, np.uint32], ...]:
    """(odd factor, term) of each, from SHAKE-256: random generators of libraries change with their versions."""
    drawn = hashlib.shake_256(b"shardfleet minhash %d" % seed).digest(8 * count)
    # [permutations, 2] uint32
    pairs = np.frombuffer(drawn, dtype="<u4").reshape(count, 2)
    return tuple((np.uint32(factor | 1), np.uint32(term)) for factor, term in pairs.tolist())
