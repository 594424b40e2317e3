"""Which units of a host lack signatures, by records and headers: no numpy, no payload."""

import os

from shard.dedup.settings import Scheme
from shard.job import Job
from shard.options import Options
from shard.present import lacking_sidecars
from shard.records import read_shard
from shard.store import directories_of
from shard.trainers import SIGNATURES


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
