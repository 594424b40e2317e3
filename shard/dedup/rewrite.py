"""A pair of directories without some of its documents: new directories, which appear whole or not at all."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import asdict, replace
from numpy.typing import NDArray

from shard.alone import job_alone
from shard.dedup.appended import Holding, identity_after, path_after, units_after
from shard.dedup.copying import copy_unit, dropped_with
from shard.dedup.lists import removed_sha256
from shard.dedup.processes import in_processes
from shard.errors import JobError
from shard.records.compression import RANKS_FILE
from shard.records.identity import Identity
from shard.records.inputs import BY_SUFFIX
from shard.records.job import Dataset, Holdout, Job, TokenizerSpec
from shard.records.shards import ShardRecord, Split
from shard.records.unit import Unit
from shard.storage.links import link_or_copy
from shard.storage.rankfile import read_codec
from shard.storage.store import Directories, open_store
from shard.storage.stored import Stored, StoredShard
from shard.storage.whole import appearing
from shard.writer import UnitWriter


@dataclass(frozen=True, slots=True)
class Lessened:
    """One unit, and which of its documents go."""

    shards: dict[Split, StoredShard]
    removed: dict[Split, NDArray[np.int64]]
    """[duplicates] positions within each shard, ascending."""


@dataclass(frozen=True, slots=True)
class Written:
    """One directory that was made."""

    directory: Path
    documents: int
    tokens: int


def rewrite(
    pair: dict[Split, Stored], units: Sequence[Lessened], finals: Directories, why: object, processes: int
) -> dict[Split, Written]:
    """Write the directories without the removed documents.

    `why`, a record, becomes part of the fingerprint together with what is removed. Raises VerificationError for a
    damaged shard, StoreError, DiskFullError. Then nothing is made.
    """
    with appearing(finals) as places:
        job = _job(pair["train"], units, places, why)
        with open_store(job) as directories:
            if job.identity.compression is not None:
                for split, directory in directories.items():
                    link_or_copy(pair[split].directory / RANKS_FILE, directory / RANKS_FILE)
            work = partial(_write_unit, job, directories, pair["train"].record.chain)
            records = list(in_processes(work, units, processes))
    return {
        split: Written(
            directory=finals[split].absolute(),
            documents=sum(record[split].documents for record in records),
            tokens=sum(record[split].tokens for record in records),
        )
        for split in pair
    }


def _job(train: Stored, units: Sequence[Lessened], places: Directories, why: object) -> Job:
    record = train.record
    facts, source = record.tokenizer, record.source
    removed = removed_sha256(positions for unit in units for positions in unit.removed.values())
    after = _units_after(record.chain, units) if len(record.chain) > 1 else ()
    identity = identity_after(record.chain, after, why, removed)
    dataset = Dataset(
        kind="files",
        name=source.dataset,
        root=str(train.directory.absolute()),
        revision=source.revision,
        text_column=source.text_column,
        input=record.identity.input or BY_SUFFIX,
    )
    tokenizer = msgspec.convert(asdict(facts), TokenizerSpec)
    holdout = Holdout(rate=record.holdout.rate, seed=record.holdout.seed)
    return job_alone("dedup", places, dataset, tokenizer, holdout, identity)


def _units_after(chain: Sequence[Identity], units: Sequence[Lessened]) -> tuple[Unit, ...]:
    records = [(unit.shards["train"].record, unit.shards["holdout"].record) for unit in units]
    return units_after(
        chain,
        (
            Holding(train.unit, train.source.path, train.source.content_id, train.payload_bytes + holdout.payload_bytes)
            for train, holdout in records
        ),
    )


def _write_unit(
    job: Job, directories: Directories, chain: Sequence[Identity], unit: Lessened
) -> dict[Split, ShardRecord]:
    before = unit.shards["train"].record
    path = path_after(chain, before.unit, before.source.path)
    # Of the run that tokenized it: a second deduplication gives the same bytes.
    job = replace(job, host=before.host)
    # Not the path of its source file, which in joined directories may be one like `/home/me/books/a.txt`.
    itself = Unit(ordinal=before.unit, path=unit.shards["train"].stem, size=0, content_id=before.source.content_id)
    codec = read_codec(directories["train"], job.identity)
    with ExitStack() as stack:
        writer = UnitWriter(job, itself, directories, before.rank, codec=codec)
        stack.callback(writer.discard)
        copy_unit(writer, unit.shards, unit.removed)
        return writer.commit(replace(before.source, path=path), dropped_with(before, unit.removed), before.seconds)


def units_of(pair: dict[Split, Stored], removed: dict[tuple[Split, str], NDArray[np.int64]]) -> list[Lessened]:
    """All units, in order, with what goes of each. Raises JobError where a unit lacks one of its shards."""
    train, holdout = ({shard.stem: shard for shard in pair[split].shards} for split in ("train", "holdout"))
    if alone := sorted(train.keys() ^ holdout.keys()):
        raise JobError(
            f"{pair['train'].directory} and {pair['holdout'].directory}: unit {alone[0]} has only one of its two "
            f"shards{f', as {len(alone) - 1} more' if len(alone) > 1 else ''}; verify says which"
        )
    return [
        Lessened(
            {"train": train[stem], "holdout": holdout[stem]},
            {"train": removed["train", stem], "holdout": removed["holdout", stem]},
        )
        for stem in train
    ]
