"""After any end of a run: what is left on the hosts, and what the exit code is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from provision.errors import ProvisionError
from provision.plan.plan import HostPlan, Plan
from provision.plan.rundir import RunDirectory
from provision.reach.channel import Channel
from provision.reach.fleet import on_all
from provision.reach.remote import ask_shard, job_argument

_MARGIN_SECONDS = 40.0
"""Beyond the grace: for a connection, an interpreter's start, and the killing."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the hosts said when asked what is left."""

    left: Mapping[str, list[str]]
    """Commands that still run, by host; hosts with none are left out."""
    silent: Mapping[str, str]
    """Why a host gave no answer."""
    quiet: frozenset[str]
    """Hosts on which nothing runs."""

    @property
    def proven(self) -> bool:
        """Whether every host is shown to be quiet."""
        return not self.left and not self.silent

    @property
    def unproven(self) -> list[str]:
        return sorted({*self.left, *self.silent})


def stop_hosts(run: RunDirectory, plan: Plan, *, now: bool, names: Sequence[str] | None = None) -> Answers:
    """Stop the run on hosts (all of them unless named), wait until they have, and return what is left."""
    return _ask(run, plan, ("stop", *(("--now",) if now else ())), names)


def left_on_hosts(run: RunDirectory, plan: Plan, names: Sequence[str] | None = None) -> Answers:
    """What still runs; stops nothing."""
    return _ask(run, plan, ("left",), names)


def _ask(run: RunDirectory, plan: Plan, verb: Sequence[str], names: Sequence[str] | None) -> Answers:
    hosts = {host.name: host for host in plan.present if names is None or host.name in names}

    def ask(channel: Channel) -> list[str]:
        return _left(channel, plan, hosts[channel.host.name], verb)

    outcomes = on_all([host.host for host in hosts.values()], run.ssh_config, ask, workers=64)
    left = {host.name: found for host, found in outcomes.items() if isinstance(found, list) and found}
    silent = {host.name: str(error) for host, error in outcomes.items() if isinstance(error, ProvisionError)}
    return Answers(left, silent, frozenset(hosts.keys() - left.keys() - silent.keys()))


def stop_host(channel: Channel, plan: Plan, host: HostPlan, *, now: bool) -> list[str]:
    """Stop the run on one host, wait until it has, and return what is left. Raises RemoteError."""
    return _left(channel, plan, host, ("stop", *(("--now",) if now else ())))


def _left(channel: Channel, plan: Plan, host: HostPlan, verb: Sequence[str]) -> list[str]:
    timeout = plan.options.grace_seconds + _MARGIN_SECONDS
    answer = ask_shard(channel, plan, host, *verb, *job_argument(plan, host), timeout=timeout)
    found: list[dict[str, Any]] = msgspec.json.decode(answer)
    return [f"{process['pid']} {process['command']}" for process in found]


def exit_code(answers: Answers, *, complete: bool, stopped: bool, reason: str = "") -> int:
    """0 complete; 130 stopped and shown to be; 3 not shown; 1 something is missing (pure).

    `reason` is why the launcher stopped the run by itself: then something is missing, and nobody asked for that.
    """
    if not answers.proven:
        return 3
    if complete:
        return 0
    return 130 if stopped and not reason else 1
