"""A rank's work where documents are removed: one unit's shards of this host → the same without them."""

import time
from pathlib import Path

from msgspec.structs import replace

from shard.dedup.appended import path_after
from shard.dedup.copying import copy_unit, dropped_with
from shard.dedup.lists import shard_name, unpack_lists
from shard.errors import JobError
from shard.formats.payload import Payload
from shard.pipeline import Workplace, Written
from shard.records.identity import broken_link
from shard.records.removal import Removal
from shard.records.shards import SPLITS, Split, belongs, read_directory, read_shard
from shard.records.unit import Unit
from shard.storage.stored import StoredShard
from shard.writer import UnitWriter


def write_remaining(place: Workplace, removal: Removal, lists: Path, unit: Unit) -> Written:
    """Write what is left of a unit; the caller commits it. `lists` is the file with the removal lists of this host.

    Raises ShardError; nothing half-written stays.
    """
    started = time.monotonic()
    shards = {split: _shard(place, removal, split, unit) for split in SPLITS}
    removed = {split: unpack_lists(lists, shard_name(unit.stem, split)) for split in SPLITS}
    read = 0

    def count(block: Payload) -> None:
        nonlocal read
        read += block.tokens.nbytes
        place.counters.add(len(block.offsets) - 1, len(block.tokens), block.tokens.nbytes)

    writer = UnitWriter(
        place.job, unit, place.directories, place.rank, codec=place.codec, spare_cores=min(4, place.spare_cores)
    )
    try:
        copy_unit(writer, shards, removed, count)
    except BaseException:
        writer.discard()
        raise
    record = shards["train"].record
    source = replace(record.source, path=unit.path)
    return Written(unit, writer, source, dropped_with(record, removed), started, read)


def _shard(place: Workplace, removal: Removal, split: Split, unit: Unit) -> StoredShard:
    directory = Path(removal.output_dir if split == "train" else removal.holdout_dir).expanduser()
    record = read_shard(directory, unit.stem)
    chain = read_directory(directory).chain
    known = chain[-1].fingerprint == removal.fingerprint and broken_link(chain) is None and belongs(record, chain)
    found = record.unit, record.split, path_after(chain, record.unit, record.source.path), record.source.content_id
    if not known or found != (unit.ordinal, split, unit.path, unit.content_id):
        raise JobError(
            f"{directory / unit.stem}.json: {record.source.path}, {record.split} of fingerprint "
            f"{record.fingerprint[:12]}: not what duplicates were sought in; start dedup again"
        )
    return StoredShard(directory, unit.stem, record, place.job.tokenizer.dtype, place.codec)
