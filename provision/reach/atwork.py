"""Hosts that work by themselves: whether some still do."""

import msgspec

from provision.errors import InputError
from provision.plan.plan import Plan
from provision.plan.rundir import RunDirectory
from provision.reach.channel import Channel
from provision.reach.fleet import on_all
from provision.reach.settle import left_on_hosts


def require_nobody_at_work(run: RunDirectory, plan: Plan) -> None:
    """Hosts that work without a launcher must not get another job under their hands. Raises InputError.

    What a host was told last counts, not this plan: it may have been started differently, or from elsewhere.
    """

    def told(channel: Channel) -> str:
        try:
            job = channel.get(f"{plan.job_directory(channel.host.name)}/job.json")
            return msgspec.json.decode(job, type=_Told).options.on_disconnect
        except (FileNotFoundError, msgspec.DecodeError):
            return "stop"  # nothing that could have been started

    answers = on_all([host.host for host in plan.present], run.ssh_config, told)
    alone = [host.name for host, answer in answers.items() if answer == "continue"]
    if alone and (busy := left_on_hosts(run, plan, alone).left):
        raise InputError(
            f"run {plan.run_id} is still at work on {', '.join(sorted(busy))}; see it with 'shardfleet attach "
            f"{run.path}', or stop it with 'shardfleet abort {run.path}'"
        )


class _ToldOptions(msgspec.Struct, frozen=True):
    on_disconnect: str


class _Told(msgspec.Struct, frozen=True):
    """What matters here of a job, of whatever version."""

    options: _ToldOptions
