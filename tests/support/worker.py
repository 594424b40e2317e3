"""The worker's stages in this process, without supervisor and ranks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shard.pipeline import Counters, Workplace, write_unit
from shard.records.job import Job
from shard.records.shards import ShardRecord, Split
from shard.records.unit import Unit
from shard.source.download import Scratch
from shard.storage.rankfile import read_codec
from shard.storage.store import open_store, put_ranks, scratch_of
from shard.tokenizer.load import load_tokenizer


@contextmanager
def workplace(job: Job, tokenizer_directory: Path | None = None) -> Iterator[Workplace]:
    """What a rank needs, with the job's directories open. A rank table lies beside the tokenizer."""
    with open_store(job) as directories:
        put_ranks(job, directories, tokenizer_directory or Path("nowhere"))
        yield Workplace(
            job=job,
            rank=0,
            tokenizer=load_tokenizer(job.tokenizer, tokenizer_directory or Path("nowhere")),
            directories=directories,
            scratch=Scratch(scratch_of(job, directories) / "0"),
            locations={},
            counters=Counters(),
            codec=read_codec(directories["train"], job.identity),
        )


def write_all(job: Job, tokenizer_directory: Path | None = None) -> dict[int, dict[Split, ShardRecord]]:
    """Write and commit every unit of a job. Returns the records by ordinal."""
    with workplace(job, tokenizer_directory) as place:
        return {unit.ordinal: commit(place, unit) for unit in job.units}


def commit(place: Workplace, unit: Unit) -> dict[Split, ShardRecord]:
    """Write and commit one unit."""
    return write_unit(place, unit).commit()
