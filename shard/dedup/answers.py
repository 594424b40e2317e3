"""Keys and signatures of a host's units, for the launcher that seeks duplicates on all hosts; nothing is changed."""

import hashlib
from collections.abc import Iterator

import numpy as np

from shard.dedup.questions import KeysQuestion, SignaturesQuestion, banded
from shard.errors import JobError
from shard.records.dedup import Scheme
from shard.records.job import Job
from shard.records.shards import SPLITS, Split, read_shard
from shard.records.trainers import SIGNATURES
from shard.signatures.rows import Rows, banded_of, checked_rows, exact_of, mapped_rows
from shard.storage.present import signed_by
from shard.storage.store import directories_of


def keys_of_units(job: Job, question: KeysQuestion) -> Iterator[bytes]:
    """For each unit the sha256 of what follows, then [documents, 2 + bands] uint64, those of train first.

    Raises JobError for a shard without signatures by this scheme, VerificationError where they are damaged.
    """
    settings = question.settings
    for unit in question.units:
        keys = [np.empty((0, 2 + banded(settings)), dtype="<u8")]
        for split in SPLITS:
            rows = _rows(job, unit, split, settings.scheme)
            found = [exact_of(rows)]
            if banded(settings):
                found.append(banded_of(rows, settings))
            keys.append(np.concatenate(found, axis=1))
        data = np.concatenate(keys).astype("<u8").tobytes()
        yield hashlib.sha256(data).digest() + data


def signatures_of_units(job: Job, question: SignaturesQuestion) -> Iterator[bytes]:
    """For each unit [positions, permutations] uint32. Raises as keys_of_units does."""
    for wanted in question.wanted:
        train, holdout = (_rows(job, wanted.unit, split, question.scheme) for split in SPLITS)
        positions = np.array(wanted.positions, dtype=np.int64)
        of_train = int(np.searchsorted(positions, len(train)))
        found = train["values"][positions[:of_train]], holdout["values"][positions[of_train:] - len(train)]
        yield np.concatenate(found).tobytes()


def _rows(job: Job, unit: int, split: Split, scheme: Scheme) -> Rows:
    directory = directories_of(job)[split]
    stem = f"{unit:06d}"
    record = read_shard(directory, stem)
    if not record.documents:
        return mapped_rows(directory, scheme, 0)
    path = directory / f"{stem}.{SIGNATURES}"
    found = signed_by(directory, stem, record, scheme)
    if found is None:
        raise JobError(f"{path}: no signatures by this scheme; start dedup again to have them made")
    return checked_rows(path, found, record.documents, record.sidecars[SIGNATURES])
