"""Which units of a host lack signatures, by records and headers: no numpy, no payload."""

import os

from shard.records.dedup import Scheme
from shard.records.job import Job
from shard.records.options import Options
from shard.records.shards import read_shard
from shard.records.trainers import SIGNATURES
from shard.storage.present import lacking_sidecars
from shard.storage.store import directories_of


def unsigned_units(job: Job, scheme: Scheme) -> list[int]:
    """Committed units whose shards have no signatures by this scheme, ascending. Raises JobError."""
    options = Options(signatures=scheme)
    found: set[int] = set()
    for directory in directories_of(job).values():
        names = os.listdir(directory)  # noqa: PTH208  a Path for each of 30,000 names takes longer than the listing
        for name in names:
            stem = name.removesuffix(".json")
            if stem != name and stem.isascii() and stem.isdigit():
                record = read_shard(directory, stem)
                if SIGNATURES in lacking_sidecars(directory, stem, record, options):
                    found.add(record.unit)
    return sorted(found)
