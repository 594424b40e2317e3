"""The rank table of a compressed run: that of an earlier start, else made from a sample of the dataset."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from provision.catalog.types import Catalog, SourceFile
from provision.errors import InputError, PlanError
from provision.plan.plan import Plan, unranked
from provision.plan.rundir import RunDirectory
from provision.tokenizer.resolve import FetchedTokenizer
from shard.errors import ShardError
from shard.sampling import sample_ranks


def with_ranks(
    plan: Plan, run: RunDirectory, catalog: Catalog, tokenizer: FetchedTokenizer, say: Callable[[str], None]
) -> tuple[Plan, bytes | None]:
    """The plan with its rank table, and the table; no table where nothing is compressed.

    Raises InputError when the dataset cannot be sampled.
    """
    compression = plan.identity.compression
    if compression is None:
        return plan, None
    ranks = _kept(plan, run)
    if ranks is None:
        say("sampling the dataset for how often each token occurs…")
        ranks = _sampled(catalog, catalog.files, tokenizer)
    ranked = replace(compression, ranks_sha256=hashlib.sha256(ranks).hexdigest())
    identity = replace(plan.identity, compression=ranked)
    return replace(plan, identity=identity, fingerprint=identity.fingerprint), ranks


def _kept(plan: Plan, run: RunDirectory) -> bytes | None:
    """The table of an earlier start of this very run."""
    try:
        earlier, ranks = run.read_plan().identity, run.ranks.read_bytes()
    except (PlanError, OSError):
        return None
    compression = earlier.compression
    if compression is None or unranked(earlier) != plan.identity:
        return None
    return ranks if hashlib.sha256(ranks).hexdigest() == compression.ranks_sha256 else None


def _sampled(catalog: Catalog, files: Sequence[SourceFile], tokenizer: FetchedTokenizer) -> bytes:
    with TemporaryDirectory(prefix="shardfleet-") as directory:
        (Path(directory) / (tokenizer.spec.file or "none")).write_bytes(tokenizer.data)
        listed = [(file.path, file.size, file.content_id) for file in files]
        try:
            return sample_ranks(catalog.dataset, listed, tokenizer.spec, Path(directory), catalog.locations)
        except ShardError as error:
            raise InputError(
                f"the sample for --compress cannot be had: {error}. Try again, leave that file out with --include, or "
                "leave out --compress"
            ) from error
