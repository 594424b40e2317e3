"""Verification of a run on all its hosts: each reads its own shards, the proof is over their union.

Units of hosts that cannot be asked count by the launcher's ledger: as facts, their bytes unread.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from provision.errors import ProvisionError, RemoteError
from provision.finish.placement import reports_on
from provision.plan.ledger import Ledger, read_ledger
from provision.plan.plan import Plan
from provision.plan.rundir import RunDirectory
from provision.reach.channel import Channel
from provision.reach.fleet import on_all
from provision.reach.remote import ask_shard, held_argument
from shard.records.progress import UnitCounts
from shard.verify.coverage import report_of
from shard.verify.report import DirectoryReport, Report

_TIMEOUT_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class ByLedger:
    """A host that gave no report."""

    reason: str
    units: int
    """Known from the ledger."""

    def __str__(self) -> str:
        return f"{self.reason}; its {self.units} units are known by the ledger only"


@dataclass(frozen=True, slots=True)
class Verified:
    """The merged report, and the hosts that have no part of their own in it."""

    report: Report
    by_ledger: Mapping[str, ByLedger]

    @property
    def problems(self) -> list[str]:
        """What keeps the bytes of the run from being verified."""
        return [str(host) for host in self.by_ledger.values()]


def verify_run(run: RunDirectory) -> Verified:
    """Have every host that takes part verify its shards."""
    plan = run.read_plan()
    hosts = {host.name: host for host in plan.present}

    def ask(channel: Channel) -> Report:
        host = hosts[channel.host.name]
        # Exit status 1 says that something is wrong, and the report what.
        answer = ask_shard(
            channel, plan, host, "verify", *held_argument(plan, host), timeout=_TIMEOUT_SECONDS, fine=(1,)
        )
        try:
            return msgspec.json.decode(answer, type=Report)
        except msgspec.DecodeError as error:
            raise RemoteError(f"{host.name}: cannot be verified: {error}") from error

    answers = on_all([host.host for host in hosts.values()], run.ssh_config, ask)
    silent = {host.name: str(answer) for host, answer in answers.items() if isinstance(answer, ProvisionError)}
    read = [directory for answer in answers.values() if isinstance(answer, Report) for directory in answer.directories]
    return merged(plan, read, silent, read_ledger(run.ledger, plan.fingerprint))


def merged(plan: Plan, read: list[DirectoryReport], silent: Mapping[str, str], ledger: Ledger) -> Verified:
    """The proof over what was read and, for hosts that gave no report, what the ledger knows (pure)."""
    seen = {facts.unit for directory in read for facts in directory.units}
    reports = [*read]
    by_ledger: dict[str, ByLedger] = {}
    for host in plan.hosts:
        if host.name not in silent and not host.absent:
            continue
        units = list(_units_of(host.name, ledger, seen, plan))
        if units or host.name in silent:
            reason = silent.get(host.name, f"{host.name}: took no part in the latest start")
            by_ledger[host.name] = ByLedger(reason, len(units))
            reports += reports_on(plan, host, units, "ledger")
    return Verified(report_of(reports, plan.units), by_ledger)


def _units_of(host: str, ledger: Ledger, seen: set[int], plan: Plan) -> Iterator[UnitCounts]:
    """What the ledger knows of a host, but for what another one has."""
    for ordinal in sorted(ledger):
        if ledger[ordinal].host == host and ordinal not in seen and plan.has(ordinal):
            yield ledger[ordinal].counts
