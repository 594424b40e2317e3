"""Directories of shards, written by the real pipeline in this process."""

from pathlib import Path

from shard.job import Job
from shard.pipeline import Counters, Workplace, write_unit
from shard.source.download import Scratch
from shard.store import open_store, scratch_of
from shard.tokenizer.load import load_tokenizer


def write_store(job: Job, tokenizer_directory: Path) -> None:
    """Do all units of a job, one after the other."""
    with open_store(job) as directories:
        place = Workplace(
            job=job,
            rank=0,
            tokenizer=load_tokenizer(job.tokenizer, tokenizer_directory),
            directories=directories,
            scratch=Scratch(scratch_of(job, directories)),
            counters=Counters(),
            locations={},
        )
        for unit in job.units:
            write_unit(place, unit).commit()
