"""A job that no launcher planned: one process on this machine writes directories of shards by it."""

from collections.abc import Sequence

from shard.records.dataset import Dataset
from shard.records.identity import Identity
from shard.records.job import FORMAT_VERSION, Holdout, Job, TokenizerSpec
from shard.records.options import Options
from shard.records.unit import Unit
from shard.storage.store import Directories


def job_alone(
    verb: str,
    directories: Directories,
    dataset: Dataset,
    tokenizer: TokenizerSpec,
    holdout: Holdout,
    identity: Identity,
    units: Sequence[Unit] = (),
) -> Job:
    """The job of a command, `verb`, that writes these directories by itself. Raises JobError."""
    return Job(
        version=FORMAT_VERSION,
        run_id=f"{verb}-{identity.fingerprint[:10]}",
        host="localhost",
        first_rank=0,
        ranks=1,
        world_size=1,
        output_dir=str(directories["train"]),
        holdout_dir=str(directories["holdout"]),
        dataset=dataset,
        tokenizer=tokenizer,
        holdout=holdout,
        identity=identity,
        options=Options(),
        units=tuple(units),
    )
