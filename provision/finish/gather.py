"""The end of a run: records of all hosts → one copy of every unit, an up-to-date ledger, the cluster manifest."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec

from provision.errors import ProvisionError, RemoteError
from provision.finish.placement import Placement, Spare, coverage_of, ledger_of, manifest_of, place
from provision.plan.ledger import read_ledger, write_ledger
from provision.plan.plan import Plan
from provision.plan.rundir import RunDirectory
from provision.reach.channel import Channel
from provision.reach.fleet import on_all
from provision.reach.remote import ask_shard, held_argument, job_argument
from provision.run.monitor import ClusterState
from shard.errors import DiskFullError
from shard.host.commits import Commits
from shard.records.manifest import MANIFEST_FILE, Manifest, encode_manifest
from shard.records.progress import UnitCounts, UnitsKept, ranges_of
from shard.storage.disk import write_atomic

_TIMEOUT_SECONDS = 120.0
_FINDINGS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the hosts hold, and what a user should read about it."""

    manifest: Manifest
    placement: Placement
    found: Mapping[str, Commits]
    """Hosts that answered."""
    silent: Mapping[str, str]
    """Hosts that were asked and did not say, and why."""
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every row of the dataset is there exactly once, by records and ledger."""
        return self.manifest.proof.complete


def gather(run: RunDirectory, plan: Plan, *, without: Collection[str] = ()) -> Gathered:
    """Collect records, remove second copies, and leave the manifest here and on every host that can be asked.

    Hosts that cannot be asked, those in `without` and those that took no part are known by the ledger alone. Whatever
    goes wrong on the way is a note.
    """
    found, silent = _collect(run, plan, without)
    ledger = read_ledger(run.ledger, plan.fingerprint)
    placement = place(plan, found, ledger)
    left, told = _discard(run, plan, placement)
    coverage = coverage_of(plan, placement)
    notes = [f"known by the ledger only: {reason}" for reason in silent.values()]
    notes += [*told, *map(str, coverage.findings[:_FINDINGS_SHOWN])]
    manifest = manifest_of(plan, placement, coverage, asked=found.keys(), twice=left)
    try:
        write_ledger(run.ledger, plan.fingerprint, ledger_of(plan, placement, ledger, found.keys()))
        write_atomic(run.path / MANIFEST_FILE, encode_manifest(manifest), mode=0o600)
    except (OSError, DiskFullError) as error:
        notes.append(f"{MANIFEST_FILE} and ledger cannot be written here: {error}")
    notes += _hand_out(run, plan, found, manifest)
    return Gathered(manifest, placement, found, silent, tuple(notes))


def take_in(state: ClusterState, gathered: Gathered) -> None:
    """Let the state know of commits whose word never came here."""
    kept: dict[str, list[UnitCounts]] = {}
    for unit, one in gathered.placement.kept.items():
        if unit not in state.committed and unit in state.sizes:
            kept.setdefault(one.host, []).append(one.counts)
    for name, units in kept.items():
        state.apply(UnitsKept(host=name, units=units), state.hosts[name].last_heard or 0.0)


def _collect(run: RunDirectory, plan: Plan, without: Collection[str]) -> tuple[dict[str, Commits], dict[str, str]]:
    hosts = {host.name: host for host in plan.present if host.name not in without}

    def ask(channel: Channel) -> Commits:
        host = hosts[channel.host.name]
        answer = ask_shard(channel, plan, host, "records", *held_argument(plan, host), timeout=_TIMEOUT_SECONDS)
        try:
            return msgspec.json.decode(answer, type=Commits)
        except msgspec.DecodeError as error:
            raise RemoteError(f"{host.name}: its records cannot be read: {error}") from error

    answers = on_all([host.host for host in hosts.values()], run.ssh_config, ask)
    found = {host.name: answer for host, answer in answers.items() if isinstance(answer, Commits)}
    silent = {host.name: str(answer) for host, answer in answers.items() if isinstance(answer, ProvisionError)}
    return found, silent


def _discard(run: RunDirectory, plan: Plan, placement: Placement) -> tuple[list[int], list[str]]:
    """Have hosts remove their second copies. Returns the units that still stand twice, and what was done."""
    by_host: dict[str, list[Spare]] = {}
    for spare in placement.spare:
        by_host.setdefault(spare.host, []).append(spare)
    hosts = {host.name: host for host in plan.hosts if host.name in by_host}

    def remove(channel: Channel) -> None:
        host = hosts[channel.host.name]
        ordinals = msgspec.json.encode([spare.unit for spare in by_host[host.name]])
        ask_shard(channel, plan, host, "discard", *job_argument(plan, host), timeout=_TIMEOUT_SECONDS, stdin=ordinals)

    left = [spare.unit for spare in placement.stuck]
    notes = [
        f"{name}: {units} also on {keeper}, and they share the holdout directory, or the units were there before "
        f"this run: remove the files of {name}'s output directory by hand"
        for (name, keeper), units in _named(placement.stuck)
    ]
    outcomes = on_all([host.host for host in hosts.values()], run.ssh_config, remove) if hosts else {}
    for host, outcome in outcomes.items():
        if isinstance(outcome, ProvisionError):
            left += [spare.unit for spare in by_host[host.name]]
            notes.append(f"{host.name}: its second copies of units are still there: {outcome}")
        else:
            notes += [
                f"{host.name}: {units} also on {keeper}, which keeps them; {host.name} has removed its own"
                for (_, keeper), units in _named(by_host[host.name])
            ]
    return left, notes


def _named(spares: Collection[Spare]) -> list[tuple[tuple[str, str], str]]:
    """(host, keeper) → their units in words."""
    units: dict[tuple[str, str], list[int]] = {}
    for spare in spares:
        units.setdefault((spare.host, spare.keeper), []).append(spare.unit)
    return [(hosts, f"units {_ranges_in_words(ordinals)} are") for hosts, ordinals in units.items()]


def _ranges_in_words(ordinals: Collection[int]) -> str:
    ranges = ranges_of(ordinals)
    words = [str(start) if end == start + 1 else f"{start}–{end - 1}" for start, end in ranges[:8]]
    return ", ".join(words) + (f" and {len(ranges) - 8} more ranges" if len(ranges) > 8 else "")


def _hand_out(run: RunDirectory, plan: Plan, found: Mapping[str, Commits], manifest: Manifest) -> list[str]:
    """Put the manifest beside every dataset.json of the run; once, where several hosts see the same directory."""
    targets: dict[str, tuple[str, str]] = {}
    for host in plan.hosts:
        if (known := found.get(host.name)) is not None:
            targets.setdefault(known.place, (host.name, host.output_dir))
            targets.setdefault(known.holdout_place, (host.name, host.holdout_dir))
    targets.pop("", None)  # no directory of this fingerprint
    directories: dict[str, list[str]] = {}
    for name, directory in targets.values():
        directories.setdefault(name, []).append(directory)
    hosts = [host.host for host in plan.hosts if host.name in directories]
    data = encode_manifest(manifest)

    def give(channel: Channel) -> None:
        for directory in directories[channel.host.name]:
            channel.put(data, f"{directory.rstrip('/')}/{MANIFEST_FILE}", mode=0o644)

    outcomes = on_all(hosts, run.ssh_config, give) if hosts else {}
    errors = [outcome for outcome in outcomes.values() if isinstance(outcome, ProvisionError)]
    return [f"{MANIFEST_FILE} is not up to date: {error}" for error in errors]
