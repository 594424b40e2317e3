"""Which host has which unit, by what hosts say and, for those that say nothing, by the ledger (pure)."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from provision.plan.ledger import Entry, Ledger
from provision.plan.plan import Plan
from provision.prepare.survey import Answer, Surveys
from shard.host.survey import Survey
from shard.records.progress import ordinals_of


@dataclass(frozen=True, slots=True)
class Holdings:
    """Every unit that is committed, at one host."""

    committed: dict[str, list[int]]
    """Units of each host, ascending; those that another host's copy counts for are left out."""
    surplus: dict[str, list[int]]
    """Units that a host has as well, in a directory of its own: to be removed there."""
    ledger: Ledger
    """Without what hosts turn out not to have any more."""

    def notes(self) -> Iterator[str]:
        """What the user should know."""
        for name, units in self.surplus.items():
            yield (
                f"{name}: {len(units)} of its units have been done by other hosts as well; their copies count, "
                f"{name}'s are removed when it starts"
            )


def committed_of(plan: Plan, surveys: Surveys) -> dict[str, list[int]]:
    """Units that hosts say they have finished for this very fingerprint, by host."""
    return {
        name: [ordinal for ordinal in ordinals_of(answer.survey.committed) if plan.has(ordinal)]
        for name, answer in surveys.items()
        if isinstance(answer, Answer) and answer.survey.identity == plan.identity
    }


def holdings_of(plan: Plan, surveys: Surveys, ledger: Mapping[int, Entry]) -> Holdings:
    """Who has what.

    A unit is in two places when a host was cut off and comes back after others have done its share. The copy of the
    host that the ledger names counts, else that of the first of `plan.hosts`; a trainer would see its rows twice. Where
    hosts see one directory, as on a shared file system, there is but one copy.
    """
    said = committed_of(plan, surveys)
    claims: dict[int, list[str]] = {}
    for host in plan.hosts:
        for ordinal in said.get(host.name, ()):
            claims.setdefault(ordinal, []).append(host.name)
    places = {
        name: answer.survey.place or name if isinstance(answer, Answer) else name for name, answer in surveys.items()
    }
    committed: dict[str, list[int]] = {host.name: [] for host in plan.hosts}
    surplus: dict[str, list[int]] = {}
    for ordinal, names in sorted(claims.items()):
        known = ledger[ordinal].host if ordinal in ledger else None
        keeper = known if known in names else names[0]
        committed[keeper].append(ordinal)
        for name in names:
            if places[name] != places[keeper]:
                surplus.setdefault(name, []).append(ordinal)
    asked = {name for name, answer in surveys.items() if isinstance(answer, Answer) and _tells(answer.survey)}
    kept = {
        ordinal: entry
        for ordinal, entry in ledger.items()
        if entry.host not in asked or entry.host in claims.get(ordinal, ())
    }
    for ordinal, entry in sorted(kept.items()):
        if entry.host in committed and entry.host not in asked and plan.has(ordinal) and ordinal not in claims:
            committed[entry.host].append(ordinal)
    return Holdings(committed, surplus, kept)


def _tells(survey: Survey) -> bool:
    """Whether it says what the host has: not so where the record of the directory cannot be read."""
    return survey.identity is not None or not survey.problem


def without(ledger: Mapping[int, Entry], lost: Collection[str]) -> Ledger:
    """What is left when hosts do not return."""
    return {ordinal: entry for ordinal, entry in ledger.items() if entry.host not in lost}


def discarding(plan: Plan, holdings: Holdings) -> Plan:
    """The plan by which hosts remove what is surplus."""
    hosts = tuple(replace(host, discard=tuple(holdings.surplus.get(host.name, ()))) for host in plan.hosts)
    return replace(plan, hosts=hosts)
