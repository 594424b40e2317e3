"""Sending every host its job."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import huggingface_hub
import msgspec

from provision.errors import ProvisionError, RemoteError
from provision.plan.hostjob import job_of
from provision.plan.plan import HostPlan, Plan
from provision.plan.rundir import RunDirectory
from provision.reach.atwork import require_nobody_at_work
from provision.reach.channel import Channel
from provision.reach.fleet import on_all
from shard.records.compression import RANKS_FILE
from shard.records.frozen import canonical_json
from shard.storage.disk import write_atomic


def without_secrets() -> dict[str, str]:
    """The environment of this process for that of a run, where others can see it."""
    return {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")}


@dataclass(frozen=True, slots=True)
class Package:
    """What a host is sent beside its job."""

    plan: Plan
    tokenizer: bytes | None
    ranks: bytes | None
    """The rank table of a compressed run."""
    lists: Path | None
    """Where the removal lists of hosts lie, a file for each, of a run that copies."""
    token: str | None = field(repr=False)


def pack(run: RunDirectory) -> Package:
    """Read it from the run directory."""
    plan = run.read_plan()
    file = plan.tokenizer.file
    return Package(
        plan=plan,
        tokenizer=(run.tokenizer / file).read_bytes() if file is not None else None,
        ranks=run.ranks.read_bytes() if plan.identity.compression is not None else None,
        lists=None if plan.leftovers is None else run.removed(plan.leftovers.lists_sha256),
        token=run.token.read_text() if run.token.exists() else None,
    )


def hand_over_token(run: RunDirectory, plan: Plan) -> None:
    """Keep the user's token in the run directory until the watcher of the run has taken it.

    So that no process of the run needs it in its environment, where others could see it.
    """
    token = huggingface_hub.get_token() if plan.hub_datasets else None
    if token is None:
        run.token.unlink(missing_ok=True)
    else:
        write_atomic(run.token, token.encode(), mode=0o600)


def push_jobs(run: RunDirectory) -> None:
    """Write job, tokenizer and token into each host's job directory.

    The token travels inside the SSH connection into a file that only the user can read, and is removed at the end.
    Raises RemoteError, naming every host that could not be reached.
    """
    package = pack(run)
    plan = package.plan
    hosts = {host.name: host for host in plan.present}
    require_nobody_at_work(run, plan)
    locations = _take_locations(run.locations)

    def push(channel: Channel) -> None:
        push_one(channel, package, hosts[channel.host.name], locations=locations)

    outcomes = on_all([host.host for host in plan.present], run.ssh_config, push)
    failed = [str(outcome) for outcome in outcomes.values() if isinstance(outcome, ProvisionError)]
    if failed:
        run.token.unlink(missing_ok=True)
        # On all hosts: one where a later file failed has the token, too.
        on_all(
            [host.host for host in plan.present],
            run.ssh_config,
            lambda channel: _remove_secrets(channel, plan.job_directory(channel.host.name)),
        )
        raise RemoteError("\n".join(["not started:", *(f"  {line}" for line in failed)]))


def push_one(
    channel: Channel,
    package: Package,
    host: HostPlan,
    *,
    locations: Mapping[str, str] | None = None,
    discard: Collection[int] = (),
) -> None:
    """Send one host its job; see Job.discard."""
    plan = package.plan
    directory = plan.job_directory(host.name)
    job = job_of(plan, host, discard=discard)
    if package.tokenizer is not None:
        channel.put(package.tokenizer, f"{directory}/tokenizer/{plan.tokenizer.file}")
    if package.ranks is not None:
        channel.put(package.ranks, f"{directory}/{RANKS_FILE}")
    if package.lists is not None and job.removal is not None:
        lists = (package.lists / host.name).read_bytes()
        channel.put(lists, f"{directory}/{job.removal.lists_file}")
    channel.put(b"", f"{directory}/lease")
    # Late, so that little can go wrong while it lies there.
    if package.token is not None:
        channel.put(package.token.encode(), f"{directory}/token")
    paths = {unit.path for unit in job.units}
    known = {path: location for path, location in (locations or {}).items() if path in paths}
    if known:
        channel.put(msgspec.json.encode(known), f"{directory}/locations.json")
    channel.put(canonical_json(job), f"{directory}/job.json")


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
