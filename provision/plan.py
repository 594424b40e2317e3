"""Source files + hosts → Plan, frozen before anything starts (pure)."""

import hashlib
import heapq
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal

from msgspec.structs import replace

from provision.catalog.types import SourceFile
from provision.hosts import Host
from provision.units import units_of
from shard.compression import Compression
from shard.frozen import Record, canonical_json
from shard.job import (
    FORMAT_VERSION,
    Dataset,
    Holdout,
    Identity,
    Job,
    TokenizerSpec,
    Unit,
    identity_of,
    require_readable,
)
from shard.options import Options
from shard.removal import Removal

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
        """A unit of this run."""
        return self.units[ordinal - self.identity.first_unit]

    @property
    def hub_datasets(self) -> tuple[Dataset, ...]:
        """Those on the Hub that hosts will read."""
        return self.dataset.on_hub if self.leftovers is None else ()

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


def assign(units: Iterable[Unit], ranks: Sequence[int], placed: Mapping[int, int]) -> list[list[int]]:
    """Unit → host, balancing bytes per rank: the longest unit first, to the host that has the fewest so far.

    `ranks` is the rank count of each host, 0 for one that gets nothing; `placed` says on which host a unit is committed
    already. Returns the ordinals of each host, ascending.
    """
    shares: list[list[int]] = [[] for _ in ranks]
    # (bytes per rank, host): the same inputs give the same plan
    loads = [(0.0, host) for host, count in enumerate(ranks) if count]
    for unit in sorted(units, key=lambda unit: (-unit.bytes, unit.ordinal)):
        if unit.ordinal in placed:
            shares[placed[unit.ordinal]].append(unit.ordinal)
            continue
        load, host = loads[0]
        heapq.heapreplace(loads, (load + unit.bytes / ranks[host], host))
        shares[host].append(unit.ordinal)
    return [sorted(share) for share in shares]


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


def assigned(plan: Plan, committed: Mapping[str, Iterable[int]]) -> Plan:
    """The plan with its units given to hosts; `committed` says what each host has finished already.

    Of what is still to do, hosts that are absent get nothing. Units that are copied stay where they are.
    """
    if plan.leftovers is not None:
        return plan
    index = {host.name: position for position, host in enumerate(plan.hosts)}
    placed: dict[int, int] = {}
    for name, ordinals in committed.items():
        for ordinal in ordinals:
            placed.setdefault(ordinal, index[name])
    shares = assign(plan.units, [0 if host.absent else host.ranks for host in plan.hosts], placed)
    hosts = tuple(replace(host, units=tuple(share)) for host, share in zip(plan.hosts, shares, strict=True))
    return replace(plan, hosts=hosts)


def job_of(plan: Plan, host: HostPlan, *, discard: Iterable[int] = ()) -> Job:
    """What a host's supervisor reads."""
    # Nobody renews a lease on the launcher's own machine: its end is seen there at once.
    lease = None if host.host.is_local else plan.options.lease_seconds
    waits = plan.policy.keeps_hosts and len(plan.present) > 1
    options = replace(plan.options, lease_seconds=lease, await_more=waits)
    return Job(
        version=FORMAT_VERSION,
        run_id=plan.run_id,
        host=host.name,
        first_rank=host.first_rank,
        ranks=host.ranks,
        world_size=plan.world_size,
        output_dir=host.output_dir,
        holdout_dir=host.holdout_dir,
        dataset=plan.dataset,
        tokenizer=plan.tokenizer,
        holdout=plan.holdout,
        identity=plan.identity,
        earlier=plan.earlier,
        options=options,
        removal=_removal(plan, host),
        units=tuple(plan.unit(ordinal) for ordinal in host.units),
        discard=tuple(sorted({*host.discard, *discard} - {*host.units})),
        overwrite=plan.overwrite,
    )


def _removal(plan: Plan, host: HostPlan) -> Removal | None:
    if plan.leftovers is None:
        return None
    output_dir, holdout_dir = plan.leftovers.directories[host.name]
    return Removal(
        output_dir=output_dir,
        holdout_dir=holdout_dir,
        fingerprint=plan.leftovers.fingerprint,
        lists_sha256=plan.leftovers.lists_sha256,
    )
