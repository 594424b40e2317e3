"""Source files + hosts → Plan, frozen before anything starts (pure)."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal

from msgspec.structs import replace

from provision.catalog.types import SourceFile
from provision.hosts import Host
from provision.plan.units import units_of
from shard.records.compression import Compression
from shard.records.frozen import Record, canonical_json
from shard.records.job import Dataset, Holdout, Identity, TokenizerSpec, identity_of, require_readable
from shard.records.options import Options
from shard.records.unit import Unit

PLAN_VERSION = 1


class ExportWanted(Record, frozen=True, kw_only=True):
    """Shards in the format of a trainer, on every host."""

    format: str
    to: str
    """Directory to make, on each host; `~` is its home."""
    context_length: int | None = None
    shard_tokens: int | None = None
    local_ranks: int | None = None
    name: str | None = None


class Leftovers(Record, frozen=True, kw_only=True):
    """Shards of an earlier run that are written anew without some documents, each on the host that has it."""

    fingerprint: str
    """Theirs."""
    lists_sha256: str
    """Of what is removed."""
    directories: Mapping[str, tuple[str, str]]
    """Host → where its shards lie, train and holdout."""


class Policy(Record, frozen=True, kw_only=True):
    """What the launcher does about hosts while a run is on."""

    on_host_failure: Literal["reassign", "wait", "abort"] = "reassign"
    rebalance: bool = True
    """Whether units that nobody has begun move from hosts that are behind to hosts that are done."""
    lost_seconds: float = 45.0
    """A host that has said nothing for so long, and cannot be reached, is lost."""
    detached: bool = False
    """Whether hosts work without a launcher."""
    gather_holdout: str | None = None
    """Directory on the launcher to which the holdout of all hosts is brought at the end."""
    export: ExportWanted | None = None
    """What every host writes of its shards when the run is complete."""

    @property
    def keeps_hosts(self) -> bool:
        """Whether a host that is done waits, because units of others may come to it, or others may come back."""
        return not self.detached and (self.rebalance or self.on_host_failure != "abort")


class HostPlan(Record, frozen=True, kw_only=True):
    """One host's part of the plan."""

    name: str
    user: str | None
    port: int | None
    ranks: int
    first_rank: int
    output_dir: str
    holdout_dir: str
    units: tuple[int, ...]
    """Ordinals, ascending."""
    absent: bool = False
    """Takes no part in this start; its units are those that it has committed, as the ledger knows."""
    discard: tuple[int, ...] = ()
    """Units that it has committed and another host has as well: that one's count, and these are removed."""

    @property
    def host(self) -> Host:
        """For a channel to it."""
        return Host(name=self.name, user=self.user, port=self.port, ranks=self.ranks)


class Plan(Record, frozen=True, kw_only=True):
    """`plan.json`: one run."""

    version: int
    run_id: str
    fingerprint: str
    identity: Identity
    earlier: tuple[Identity, ...] = ()
    """What the directories hold already, oldest first, where this run appends to them."""
    dataset: Dataset
    tokenizer: TokenizerSpec
    holdout: Holdout
    options: Options
    policy: Policy
    unit_bytes: int
    """Files larger than this were cut into equal byte ranges of at most this size."""
    units: tuple[Unit, ...]
    """Ascending, those of the identity; also those that were there before, where they are to be signed."""
    hosts: tuple[HostPlan, ...]
    leftovers: Leftovers | None = None
    """What is copied in place of tokenizing; its units stay where they are. None: the dataset is read."""
    remote_python: str
    """Interpreter on hosts reached over SSH; `~/` is their home."""
    local_python: str
    """Interpreter on this machine."""
    overwrite: bool = False

    def has(self, ordinal: int) -> bool:
        """Whether a unit is one of this run's; others were there before it."""
        return self.identity.first_unit <= ordinal < self.identity.units

    def unit(self, ordinal: int) -> Unit:
        """A unit of `units`."""
        return self.units[ordinal - (self.identity.units - len(self.units))]

    @property
    def hub_datasets(self) -> tuple[Dataset, ...]:
        """Those on the Hub that hosts will read."""
        return self.dataset.on_hub if self.leftovers is None else ()

    @property
    def command(self) -> Literal["launch", "append", "dedup"]:
        """What makes such a run, and goes on with it."""
        if self.leftovers is not None:
            return "dedup"
        return "append" if self.earlier else "launch"

    @property
    def world_size(self) -> int:
        return sum(host.ranks for host in self.hosts)

    @property
    def bytes(self) -> int:
        """Of source."""
        return sum(unit.bytes for unit in self.units)

    @property
    def present(self) -> tuple[HostPlan, ...]:
        """The hosts that take part."""
        return tuple(host for host in self.hosts if not host.absent)

    def job_directory(self, host: str) -> str:
        """Where a host's job lies on that host."""
        return f"~/.shardfleet/runs/{self.run_id}/{host}"

    def python_on(self, host: HostPlan) -> str:
        return self.local_python if host.host.is_local else self.remote_python


def run_id_of(dataset: Dataset, fingerprint: str, output_dir: str, holdout_dir: str) -> str:
    """The same command gives the same run, so that it continues where it stopped."""
    called = " ".join(name for name, _ in dataset.named) or PurePosixPath(dataset.name).name
    name = re.sub(r"[^a-z0-9]+", "-", called.lower()).strip("-")[:40] or "dataset"
    where = canonical_json([fingerprint, output_dir, holdout_dir])
    return f"{name}-{hashlib.sha256(where).hexdigest()[:10]}"


def unranked(identity: Identity) -> Identity:
    """The identity before a rank table was made for it."""
    if identity.compression is None:
        return identity
    return replace(identity, compression=replace(identity.compression, ranks_sha256=""))


def make_plan(
    *,
    dataset: Dataset,
    files: Sequence[SourceFile],
    tokenizer: TokenizerSpec,
    holdout: Holdout,
    options: Options,
    policy: Policy,
    hosts: Sequence[Host],
    output_dir: str,
    holdout_dir: str,
    unit_bytes: int,
    remote_python: str,
    local_python: str,
    overwrite: bool,
    compression: Compression | None = None,
    earlier: tuple[Identity, ...] = (),
) -> Plan:
    """Everything but who does what: `assigned` adds that. Raises JobError, PlanError.

    A compressed plan is without its rank table still. `earlier` is what the directories hold, where the files are to be
    appended to that.
    """
    require_readable(options, tokenizer, compression)
    base = earlier[-1] if earlier else None
    first = 0 if base is None else base.units
    units = units_of(files, unit_bytes, dataset.input, first, named=bool(dataset.named))
    identity = identity_of(dataset, tokenizer, holdout, units, compression, base)
    first_ranks = [sum(host.ranks for host in hosts[:index]) for index in range(len(hosts))]
    return Plan(
        version=PLAN_VERSION,
        # Without the table, which is looked for in the run's own directory.
        run_id=run_id_of(dataset, unranked(identity).fingerprint, output_dir, holdout_dir),
        fingerprint=identity.fingerprint,
        identity=identity,
        earlier=earlier,
        dataset=dataset,
        tokenizer=tokenizer,
        holdout=holdout,
        options=options,
        policy=policy,
        unit_bytes=unit_bytes,
        units=units,
        hosts=tuple(
            HostPlan(
                name=host.name,
                user=host.user,
                port=host.port,
                ranks=host.ranks,
                first_rank=first_rank,
                output_dir=host.output_dir or output_dir,
                holdout_dir=host.holdout_dir or holdout_dir,
                units=(),
            )
            for host, first_rank in zip(hosts, first_ranks, strict=True)
        ),
        remote_python=remote_python,
        local_python=local_python,
        overwrite=overwrite,
    )
