"""Which documents are duplicates: keys of all shards, then signatures of those that meet (pure but for scratch files).

Shards may lie on this machine or on others: who asks says how keys and signatures are had.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import xxhash
from numpy.typing import NDArray

from shard.dedup.clusters import Clusters, alike
from shard.dedup.groups import gathered
from shard.dedup.pairs import KeyStore
from shard.dedup.parts import Duplicates, Fetch, Part, numbered, within
from shard.records.dedup import Settings
from shard.signatures.minhash import has_signature
from shard.storage.disk import disk_full_named

_COMPARED = 1 << 24
"""Pairs at a time, 40 bytes each. For so many signatures are read through once: five times less is read than for some
here and there, where they are more than the page cache holds."""


def find_duplicates(
    parts: Sequence[Part], settings: Settings, work: Path, fetch: Fetch, memory: int | None = None
) -> Duplicates:
    """Find the duplicates among the documents of these parts.

    `memory`: bytes that sorting takes at most; what is found does not depend on it. Raises VerificationError for a
    damaged file, JobError without DuckDB or where it has too little memory, DiskFullError, and what `fetch` raises.
    """
    total = sum(part.documents for part in parts)
    if settings.scope == "none":
        nothing = np.empty(0, dtype=np.int64)
        return Duplicates(documents=total, removed=nothing, kept=nothing, exact=0, compared=0)
    bands = settings.bands if settings.scheme.kind == "minhash" else 0
    with KeyStore(work, bands, memory) as store:
        for first, part in numbered(parts):
            store.add_exact(first, part.exact() ^ _apart(part, settings))
        equal = store.equal()
        if bands:
            _add_banded(parts, settings, store, equal[:, 1])
        near = store.candidate_documents()
        clusters = Clusters(np.concatenate((equal.ravel(), near)))
        clusters.link(equal)
        compared = _link_alike(parts, settings, store, near, clusters, work, fetch)
    smallest = clusters.smallest()
    duplicate = clusters.documents != smallest
    return Duplicates(
        documents=total,
        removed=clusters.documents[duplicate],
        kept=smallest[duplicate],
        exact=len(equal),
        compared=compared,
    )


def _add_banded(parts: Sequence[Part], settings: Settings, store: KeyStore, copies: NDArray[np.int64]) -> None:
    """Store the band keys of all documents but exact copies of earlier ones."""
    for first, part in numbered(parts):
        keys = part.banded()
        able = has_signature(keys, settings)
        able[within(copies, first, part.documents)] = False
        positions = np.flatnonzero(able)
        store.add_banded(first + positions, keys[positions] ^ _apart(part, settings))


def _link_alike(
    parts: Sequence[Part],
    settings: Settings,
    store: KeyStore,
    documents: NDArray[np.int64],
    clusters: Clusters,
    work: Path,
    fetch: Fetch,
) -> int:
    """Link what is alike of the pairs in the store. Returns how many were compared."""
    compared = 0
    if len(documents):
        # On disk: signatures of the documents that are in any pair, which the kernel may drop from memory again.
        with disk_full_named(work / "signatures"):
            scratch = TemporaryFile(dir=work)  # noqa: SIM115  closed below
        with scratch:
            signatures = _fetched(work, scratch.fileno(), parts, documents, settings, fetch)
            for pairs in gathered(store.candidates(), _COMPARED):
                compared += len(pairs)
                clusters.link(pairs[alike(pairs, documents, signatures, settings.least_equal)])
    return compared


def _fetched(
    work: Path, scratch: int, parts: Sequence[Part], documents: NDArray[np.int64], settings: Settings, fetch: Fetch
) -> NDArray[np.uint32]:
    """[documents, permutations] uint32: the signatures of these documents, in a file."""
    wanted: dict[int, NDArray[np.int64]] = {}
    places: dict[int, int] = {}
    taken = 0
    for number, (first, part) in enumerate(numbered(parts)):
        positions = within(documents, first, part.documents)
        if len(positions):
            wanted[number], places[number] = positions, taken
            taken += len(positions)
    shape = (taken, settings.scheme.num_perm)
    with disk_full_named(work / "signatures"):
        # Not a hole: to write into a mapped one when the disk is full would kill the process.
        os.posix_fallocate(scratch, 0, 4 * shape[0] * shape[1])
    with os.fdopen(os.dup(scratch), "r+b") as file:
        signatures = np.memmap(file, dtype="<u4", mode="r+", shape=shape)

    def take(number: int, data: bytes) -> None:
        start = places.pop(number)
        rows = np.frombuffer(data, dtype="<u4").reshape(len(wanted[number]), shape[1])
        signatures[start : start + len(rows)] = rows

    fetch(wanted, take)
    if places:
        raise AssertionError(f"no signatures came of parts {sorted(places)[:5]}")
    return signatures


def _apart(part: Part, settings: Settings) -> np.uint64:
    """What keeps keys of different sources apart, where those are not to be compared."""
    return np.uint64(xxhash.xxh3_64_intdigest(part.source.encode()) if settings.scope == "source" else 0)
