"""How a run stands, from the hosts themselves; of a host that cannot be asked, what was known of it here."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from provision.errors import InputError, ProvisionError, RemoteError
from provision.plan.ledger import Entry, Ledger, read_ledger, write_ledger
from provision.plan.plan import HostPlan, Plan
from provision.plan.rundir import RunDirectory
from provision.reach.channel import Channel
from provision.reach.fleet import on_all
from provision.reach.remote import ask_shard, job_argument
from provision.reach.settle import Answers
from provision.run.keeper import since_start
from provision.run.monitor import ClusterState
from shard.host.follow import Standing
from shard.records.progress import AnyEvent, UnitDone, UnitsKept, UnitsMoved, decode

_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one host has said since its latest start, and how it stands."""

    events: tuple[AnyEvent, ...]
    standing: Standing


@dataclass(frozen=True, slots=True)
class Sight:
    """All that can be known of a run now."""

    state: ClusterState
    answers: Answers
    """What runs on the hosts."""
    at_work: frozenset[str]
    """Hosts whose supervisor lives."""
    committed: Ledger


def look(run: RunDirectory, names: Sequence[str] | None = None) -> Sight:
    """Ask every host (or those named) at once. Changes nothing."""
    plan = run.read_plan()
    hosts = {host.name: host for host in plan.present if names is None or host.name in names}
    outcomes = on_all(
        [host.host for host in hosts.values()],
        run.ssh_config,
        lambda channel: _ask(channel, plan, hosts[channel.host.name]),
        workers=64,
    )
    heard = {host.name: answer for host, answer in outcomes.items() if isinstance(answer, Answer)}
    left = {name: commands for name, answer in heard.items() if (commands := _commands(answer.standing))}
    silent = {host.name: str(error) for host, error in outcomes.items() if isinstance(error, ProvisionError)}
    answers = Answers(left, silent, frozenset(heard.keys() - left.keys()))
    ledger = read_ledger(run.ledger, plan.fingerprint)
    state = ClusterState(plan, ledger)
    committed = dict(ledger)
    for told, event in _events(run, plan, heard, ledger):
        state.apply(event, told)
        if isinstance(event, UnitDone | UnitsKept):
            for counts in event.units if isinstance(event, UnitsKept) else (event.counts,):
                if state.committed.get(counts.unit) == event.host:
                    committed[counts.unit] = Entry(event.host, counts)
    state.lose(answers.quiet)
    for name, reason in silent.items():
        state.hosts[name].unreachable = True
        state.hosts[name].reason = reason
    return Sight(state, answers, frozenset(n for n, answer in heard.items() if answer.standing.at_work), committed)


def keep_ledger(run: RunDirectory, sight: Sight) -> None:
    """Bring the ledger up to date, unless a launcher is at work, which does that itself."""
    fingerprint = sight.state.plan.fingerprint
    if not run.wait_until_ended(0.0):
        return
    with suppress(InputError), run.not_running():  # refused where one has just begun
        if read_ledger(run.ledger, fingerprint) != sight.committed:
            write_ledger(run.ledger, fingerprint, sight.committed)


def _ask(channel: Channel, plan: Plan, host: HostPlan) -> Answer:
    said = ask_shard(
        channel, plan, host, "follow", "--once", *job_argument(plan, host), timeout=_TIMEOUT_SECONDS
    ).splitlines()
    try:
        standing = msgspec.json.decode(said[-1] if said else b"", type=Standing)
    except msgspec.DecodeError as error:
        raise RemoteError(f"{host.name}: does not say how it stands: {error}") from error
    return Answer(tuple(event for line in said[:-1] if (event := decode(line)) is not None), standing)


def _events(
    run: RunDirectory, plan: Plan, heard: Mapping[str, Answer], ledger: Ledger
) -> Iterator[tuple[float, AnyEvent]]:
    """(time, event): what the launcher has kept of hosts that gave no answer, then what the others say."""
    for host in plan.present:
        kept = [entry.counts for entry in ledger.values() if entry.host == host.name]
        if kept and host.name not in heard:
            yield 0.0, UnitsKept(host=host.name, units=kept)
    for told, event in since_start(run):
        # Which units have moved, no host knows.
        if event.host not in heard or isinstance(event, UnitsMoved):
            yield told, event
    for host in plan.present:
        if (answer := heard.get(host.name)) is not None:
            told = time.time() - (answer.standing.silent_seconds or 0.0)
            for event in answer.events:
                yield told, event


def _commands(standing: Standing) -> list[str]:
    return [f"{process.pid} {process.command}" for process in standing.left]
