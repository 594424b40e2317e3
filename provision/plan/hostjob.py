"""Plan → what one host is told (pure)."""

from collections.abc import Iterable

from msgspec.structs import replace

from provision.plan.plan import HostPlan, Plan
from shard.records.job import FORMAT_VERSION, Job
from shard.records.removal import Removal


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
