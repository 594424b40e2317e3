"""What of a shard is there, by its record and the sizes of its files: no byte of a payload is read."""

import os
from pathlib import Path

from shard.errors import JobError
from shard.formats.layout import index_size
from shard.formats.signatures import scheme_at, signatures_size
from shard.records.dedup import Scheme
from shard.records.options import Options
from shard.records.shards import ShardRecord, read_shard
from shard.records.trainers import ALIASES, SIDECARS, SIGNATURES, sidecars_for


def is_whole(directory: Path, stem: str, record: ShardRecord) -> bool:
    """Whether payload and index of a shard have the recorded sizes."""
    try:
        # Not Path: over 10,000 units it would take longer than the files themselves.
        payload = os.stat(f"{directory}/{stem}.{record.payload_suffix}").st_size  # noqa: PTH116
        index = os.stat(f"{directory}/{stem}.idx").st_size  # noqa: PTH116
    except OSError:
        return False
    return (payload, index) == (record.stored_bytes, index_size(record.documents))


def lacking_sidecars(directory: Path, stem: str, record: ShardRecord, options: Options) -> tuple[str, ...]:
    """Suffixes that the record of a shard lists, or these options ask for, and that are not there in their size.

    Signatures are made again for who asks for them, where they do not serve the scheme that is asked for.
    """
    wanted = sidecars_for(options.trainers, record.tokens)
    scheme = options.signatures if record.documents else None
    if not wanted and not record.sidecars and scheme is None:
        return ()
    lacking = [
        suffix
        for suffix in sorted({*wanted, *record.sidecars} - {SIGNATURES})
        if suffix not in record.sidecars or not _has_sidecar(f"{directory}/{stem}.{suffix}", suffix, record)
    ]
    if scheme is not None and signed_by(directory, stem, record, scheme) is None:
        lacking.append(SIGNATURES)
    return tuple(lacking)


def signed_by(directory: Path, stem: str, record: ShardRecord, wanted: Scheme) -> Scheme | None:
    """The scheme of the signatures beside a shard, of as many documents as it has, where they serve the one wanted."""
    path = directory / f"{stem}.{SIGNATURES}"
    found = scheme_at(path) if SIGNATURES in record.sidecars else None
    if found is None or not found.serves(wanted) or path.stat().st_size != signatures_size(found, record.documents):
        return None
    return found


def _has_sidecar(path: str, suffix: str, record: ShardRecord) -> bool:
    try:
        size = os.stat(path).st_size  # noqa: PTH116  as above
    except OSError:
        return False
    if suffix in ALIASES:
        return size == record.payload_bytes
    return size == 8 * record.documents if suffix == "ds.index" else size > 0


def listed_sidecars(directory: Path, stem: str) -> frozenset[str]:
    """The sidecars that a record lists; where it cannot be read, verify is to say so, and nothing is taken away."""
    try:
        return frozenset(read_shard(directory, stem).sidecars)
    except JobError:
        return SIDECARS if (directory / f"{stem}.json").exists() else frozenset()
