"""`cluster.json`: what all hosts of a run hold together, made by the launcher when the run ends, read by trainers.

Only counts and names: the same state gives the same bytes.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from shard.errors import JobError
from shard.records.frozen import Record, read_sealed, sealed_json
from shard.records.job import FORMAT
from shard.records.shards import HoldoutFacts, SourceFacts, TokenizerFacts

MANIFEST_FILE = "cluster.json"
MANIFEST_VERSION = 1

Ranges = tuple[tuple[int, int], ...]
"""Ordinals of units as [start, end) ranges, ascending."""


class HostShare(Record, frozen=True, kw_only=True):
    """What one host holds."""

    name: str
    """As hosts.txt names it."""
    ranks: int
    first_rank: int
    output_dir: str
    """On the host; `~` is its home."""
    holdout_dir: str
    store: str
    """The first host that sees the same output directory, as on a shared file system; else its own name."""
    known: Literal["records", "ledger"]
    """Whether the host showed its records, or the launcher goes by what it had heard before."""
    units: Ranges
    documents: int
    """In train."""
    tokens: int
    """In train, end-of-document tokens included."""
    holdout_documents: int
    holdout_tokens: int


class Proof(Record, frozen=True, kw_only=True):
    """Was every row of the dataset taken exactly once? By records and ledger; `verify` reads the bytes as well."""

    units: int
    """Of the whole dataset."""
    proven: int
    """Units every row of which is accounted for."""
    rows: int
    """documents + holdout_documents + dropped, in all units that are there."""
    documents: int
    holdout_documents: int
    dropped: int
    complete: bool
    missing: Ranges
    """Units that no host holds."""
    twice: Ranges
    """Units that stand in two places."""
    shards_sha256: str | None
    """Over the payload hashes of all units; equal on two clusters that hold the same bytes. None where some host is
    known by the ledger only, which has no hashes."""


class Manifest(Record, frozen=True, kw_only=True):
    """The whole file."""

    format: str
    version: int
    fingerprint: str
    run_id: str
    dtype: str
    tokenizer: TokenizerFacts
    source: SourceFacts
    holdout: HoldoutFacts
    documents: int
    tokens: int
    holdout_documents: int
    holdout_tokens: int
    world_size: int
    """Ranks of the hosts that hold data."""
    tokens_per_rank: int
    """Train tokens that every such rank can have; see `equal_samples`."""
    hosts: tuple[HostShare, ...]
    proof: Proof

    def __post_init__(self) -> None:
        if (self.format, self.version) != (FORMAT, MANIFEST_VERSION):
            raise JobError(
                f"format {self.format!r} version {self.version}; this reads {FORMAT!r} version {MANIFEST_VERSION}"
            )


def read_manifest(directory: Path) -> Manifest:
    """The manifest beside the shards of a directory. Raises JobError when there is none, or it is none of ours."""
    return read_sealed(directory / MANIFEST_FILE, Manifest)


def encode_manifest(manifest: Manifest) -> bytes:
    """What the file holds."""
    return sealed_json(manifest)


def equal_samples(manifest: Manifest, context_length: int, global_batch_size: int | None = None) -> int:
    """Samples that every rank takes from its own host's shards in one epoch: as many as the poorest can.

    The train shards of a host, one after the other, give (tokens - 1) // context_length samples, as neighbours share
    their boundary token. Its ranks get the same number each, and the host with the fewest per rank decides for all.
    What is left over is dropped, so that no rank waits for another that has run dry. Hosts without tokens take no
    part: the trainer's ranks are those of the others, `manifest.world_size` of them. Hosts that share a file system
    share its tokens.

    Args:
        context_length: tokens of a sample.
        global_batch_size: samples of one step over all ranks; where given, the result is a whole number of steps.

    Raises:
        ValueError: a size is not positive, or ranks would not have equal parts of a step.
    """
    if context_length < 1:
        raise ValueError(f"context_length {context_length}: not positive")
    each = min(((tokens - 1) // context_length // ranks for tokens, ranks in _stores(manifest.hosts)), default=0)
    if global_batch_size is None or each == 0:
        return each
    if global_batch_size < 1 or global_batch_size % manifest.world_size:
        raise ValueError(
            f"global_batch_size {global_batch_size}: not a multiple of the {manifest.world_size} ranks that hold data"
        )
    per_step = global_batch_size // manifest.world_size
    return each - each % per_step


def ranks_with_data(hosts: Iterable[HostShare]) -> tuple[int, int]:
    """(ranks of the hosts that hold data, train tokens that each of them can have)."""
    stores = _stores(hosts)
    return sum(ranks for _, ranks in stores), min((tokens // ranks for tokens, ranks in stores), default=0)


def _stores(hosts: Iterable[HostShare]) -> list[tuple[int, int]]:
    """(train tokens, ranks of the hosts that see them) of every output directory that holds any."""
    sums: dict[str, tuple[int, int]] = {}
    for host in hosts:
        tokens, ranks = sums.get(host.store, (0, 0))
        sums[host.store] = tokens + host.tokens, ranks + host.ranks
    return [(tokens, ranks) for tokens, ranks in sums.values() if tokens]
