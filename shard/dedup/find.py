"""Which documents are duplicates: keys and signatures of all shards → a removal list for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from shard.dedup.clusters import alike, smallest_of
from shard.dedup.groups import Pairs
from shard.dedup.minhash import band_keys, has_signature
from shard.dedup.pairs import KeyStore
from shard.dedup.settings import Settings
from shard.dedup.unitfile import UnitFile, numbered


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What is to be removed."""

    documents: int
    """Of all shards."""
    removed: NDArray[np.int64]
    """[duplicates] numbers of documents, ascending."""
    kept: NDArray[np.int64]
    """[duplicates] for each the document that stays, the one with the lowest number of its cluster."""
    exact: int
    """Of the duplicates: those whose normal form is that of an earlier document."""
    compared: int
    """Pairs whose signatures were compared."""

    @property
    def share(self) -> float:
        """Of the documents that would be removed."""
        return len(self.removed) / max(1, self.documents)


def find_duplicates(files: Sequence[UnitFile], settings: Settings, work: Path) -> Duplicates:
    """Find the duplicates among the documents of these files, numbered in their order.

    Raises VerificationError for a damaged file, JobError without DuckDB.
    """
    bands = settings.bands if settings.kind == "minhash" else 0
    with KeyStore(work, bands) as store:
        for first, file in numbered(files):
            store.add_exact(first, file.read(settings)[0])
        equal = store.equal()
        linked, compared = [equal], 0
        if bands:
            near, compared = _near(files, settings, store, equal[:, 1], work)
            linked.append(near)
    documents, smallest = smallest_of(np.concatenate(linked))
    duplicate = documents != smallest
    return Duplicates(
        documents=sum(file.documents for file in files),
        removed=documents[duplicate],
        kept=smallest[duplicate],
        exact=len(equal),
        compared=compared,
    )


def _near(
    files: Sequence[UnitFile], settings: Settings, store: KeyStore, copies: NDArray[np.int64], work: Path
) -> tuple[Pairs, int]:
    """(pairs of documents that are alike, pairs compared), exact copies of earlier documents left out."""
    for first, file in numbered(files):
        signatures = file.read(settings)[1]
        able = has_signature(signatures)
        able[_within(copies, first, file.documents)] = False
        positions = np.flatnonzero(able)
        store.add_banded(first + positions, band_keys(signatures[positions], settings))
    documents = store.candidate_documents()
    found, compared = [np.empty((0, 2), dtype=np.int64)], 0
    # On disk: signatures of the documents that are in any pair, which the kernel may drop from memory again.
    with TemporaryFile(dir=work) as scratch:
        for first, file in numbered(files):
            positions = _within(documents, first, file.documents)
            if len(positions):
                scratch.write(file.rows(settings, positions).tobytes())
        scratch.flush()
        if len(documents):
            shape = (len(documents), settings.num_perm)
            signatures = np.memmap(scratch, dtype=np.uint32, mode="r", shape=shape)
            for pairs in store.candidates():
                compared += len(pairs)
                found.append(pairs[alike(pairs, documents, signatures, settings.least_equal)])
    return np.concatenate(found), compared


def _within(documents: NDArray[np.int64], first: int, count: int) -> NDArray[np.int64]:
    """Positions, from `first` on, of those of the documents, ascending, that are among the next `count`."""
    start, end = np.searchsorted(documents, (first, first + count))
    return documents[start:end] - first


def removed_from(duplicates: Duplicates, first: int, count: int) -> NDArray[np.int64]:
    """[duplicates] positions within a shard whose `count` documents are numbered from `first` on."""
    return _within(duplicates.removed, first, count)
