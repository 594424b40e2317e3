"""Sending every host its job."""

from pathlib import Path

import huggingface_hub
import msgspec

from provision.channel import Channel
from provision.errors import InputError, ProvisionError, RemoteError
from provision.fleet import on_all
from provision.plan import Plan, job_of
from provision.rundir import RunDirectory
from provision.settle import left_on_hosts
from shard.job import canonical_json


def push_jobs(run: RunDirectory) -> None:
    """Write job, tokenizer and token into each host's job directory.

    The token travels inside the SSH connection into a file that only the user can read, and is removed at the end.
    Raises RemoteError, naming every host that could not be reached.
    """
    plan = run.read_plan()
    hosts = {host.name: host for host in plan.hosts}
    _require_nobody_at_work(run, plan)
    tokenizer = (run.tokenizer / plan.tokenizer.file).read_bytes() if plan.tokenizer.file is not None else None
    token = huggingface_hub.get_token() if plan.dataset.kind == "hub" else None
    locations = _take_locations(run.locations)

    def push(channel: Channel) -> None:
        host = hosts[channel.host.name]
        directory = plan.job_directory(host.name)
        job = job_of(plan, host)
        if tokenizer is not None:
            channel.put(tokenizer, f"{directory}/tokenizer/{plan.tokenizer.file}")
        channel.put(b"", f"{directory}/lease")
        # Late, so that little can go wrong while it lies there.
        if token is not None:
            channel.put(token.encode(), f"{directory}/token")
        paths = {unit.path for unit in job.units}
        known = {path: location for path, location in locations.items() if path in paths}
        if known:
            channel.put(msgspec.json.encode(known), f"{directory}/locations.json")
        channel.put(canonical_json(job), f"{directory}/job.json")

    outcomes = on_all([host.host for host in plan.hosts], run.ssh_config, push)
    failed = [str(outcome) for outcome in outcomes.values() if isinstance(outcome, ProvisionError)]
    if failed:
        # On all hosts: one where a later file failed has the token, too.
        on_all(
            [host.host for host in plan.hosts],
            run.ssh_config,
            lambda channel: _remove_secrets(channel, plan.job_directory(channel.host.name)),
        )
        raise RemoteError("\n".join(["not started:", *(f"  {line}" for line in failed)]))


def _require_nobody_at_work(run: RunDirectory, plan: Plan) -> None:
    """Hosts that went on without a launcher must not get another job under their hands. Raises InputError."""
    if plan.options.on_disconnect == "continue" and (busy := left_on_hosts(run, plan).left):
        raise InputError(
            f"run {plan.run_id} is still at work on {', '.join(sorted(busy))}; wait for it, or stop it with "
            f"'shardfleet abort {run.path}'"
        )


def _remove_secrets(channel: Channel, directory: str) -> None:
    channel.remove(f"{directory}/token")
    channel.remove(f"{directory}/locations.json")


def _take_locations(path: Path) -> dict[str, str]:
    """Read the signed locations and remove the file: they are good for minutes, and secret."""
    if not path.exists():
        return {}
    locations = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    path.unlink()
    return locations
