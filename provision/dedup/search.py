"""Duplicates among all that a run has left on its hosts."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from provision.dedup.answers import Hosts
from provision.errors import InputError, PlanError
from provision.finish.gather import Gathered, gather
from provision.finish.placement import Kept
from provision.plan.hostjob import job_of
from provision.plan.ledger import read_ledger
from provision.plan.plan import Plan
from provision.plan.rundir import RunDirectory
from shard.dedup.appended import Holding
from shard.dedup.gathered import Found, Some, UnitKeys, find_gathered
from shard.dedup.parts import Take
from shard.dedup.sources import sources_of
from shard.records.dedup import Scheme, Settings
from shard.records.frozen import canonical_json
from shard.records.shards import directory_record
from shard.storage.disk import make_directory


@dataclass(frozen=True, slots=True)
class Leavings:
    """A complete run: its plan, and who has which unit."""

    run: RunDirectory
    plan: Plan
    kept: Mapping[int, Kept]

    @property
    def homes(self) -> dict[str, list[int]]:
        """Units of each host, ascending."""
        homes: dict[str, list[int]] = {}
        for unit, kept in self.kept.items():
            homes.setdefault(kept.host, []).append(unit)
        return homes

    @property
    def holdings(self) -> tuple[Holding, ...]:
        """What is there of every unit, ascending, also of those that were there before the run appended to them."""
        width = 2 if self.plan.tokenizer.dtype == "uint16" else 4
        return tuple(
            Holding(unit, *self._file(unit, kept), width * (kept.counts.tokens + kept.counts.holdout_tokens))
            for unit, kept in sorted(self.kept.items())
        )

    def _file(self, unit: int, kept: Kept) -> tuple[str, str]:
        """Path and content id."""
        if self.plan.has(unit) or kept.record is None:
            planned = self.plan.unit(unit)
            return planned.path, planned.content_id
        return kept.record.path, kept.record.content_id


def leavings_of(run: RunDirectory, plan: Plan, say: Callable[[str], None]) -> Leavings:
    """Ask the hosts of a run, at which nobody is at work, what they hold; second copies of units go, as at its end.

    Raises InputError when it is not complete.
    """
    gathered = gather(run, plan)
    for note in gathered.notes:
        say(note)
    _require_whole(run, plan, gathered)
    return Leavings(run, plan, gathered.placement.kept)


def work_directory(run: RunDirectory, settings: Settings) -> Path:
    """Where keys and removal lists of a search lie: the same search finds them again."""
    digest = hashlib.sha256(canonical_json(settings)).hexdigest()
    return run.path / f"dedup-{digest[:10]}"


def unsigned(leavings: Leavings, scheme: Scheme) -> int:
    """How many units lack signatures by this scheme. Raises RemoteError."""
    homes = leavings.homes
    lacking = Hosts(leavings.run, leavings.plan).unsigned(homes, scheme)
    return sum(len(set(lacking[name]) & set(units)) for name, units in homes.items())


def sources(leavings: Leavings, settings: Settings) -> list[str]:
    """Name of the dataset that each unit is from, ascending; empty where that does not matter. Raises JobError."""
    facts = directory_record(job_of(leavings.plan, leavings.plan.hosts[0]), "train").source
    paths = [holding.path for holding in leavings.holdings]
    return sources_of(paths, facts, appended=bool(leavings.plan.earlier), needed=settings.scope == "source")


def search(
    leavings: Leavings, settings: Settings, work: Path, memory: int | None, progress: Callable[[int], None]
) -> Found:
    """Bring the keys of all documents here, and find the duplicates; their lists are in `removed` below `work`.

    Raises RemoteError, VerificationError, JobError, DiskFullError. What has come stays for the next start.
    """
    hosts = Hosts(leavings.run, leavings.plan)
    keys = work / "keys"
    make_directory(keys)
    units = {
        ordinal: UnitKeys(
            unit=ordinal,
            documents={"train": kept.counts.documents, "holdout": kept.counts.holdout_documents},
            source=source,
            path=keys / f"{ordinal:06d}.keys",
        )
        for (ordinal, kept), source in zip(sorted(leavings.kept.items()), sources(leavings, settings), strict=True)
    }
    homes = leavings.homes
    if settings.scope != "none":
        hosts.bring_keys({name: [units[unit] for unit in own] for name, own in homes.items()}, settings, progress)
    home_of = {unit: kept.host for unit, kept in leavings.kept.items()}

    def fetch(wanted: Mapping[int, Some], take: Take) -> None:
        hosts.fetch_signatures(home_of, settings.scheme, wanted, take)

    found = find_gathered([*units.values()], settings, work, fetch, memory)
    found.write(work / "removed")
    return found


def _require_whole(run: RunDirectory, plan: Plan, gathered: Gathered) -> None:
    ledger = read_ledger(run.ledger, plan.fingerprint)
    unasked = sorted({kept.host for kept in gathered.placement.kept.values() if kept.record is None})
    if unasked:
        raise InputError(
            f"run {plan.run_id}: {', '.join(unasked)} cannot be asked; see 'shardfleet status {plan.run_id}'"
        )
    names = {host.name for host in plan.hosts}
    left_out = {entry.host for unit, entry in ledger.items() if unit not in gathered.placement.kept} - names
    if left_out:
        raise InputError(
            f"run {plan.run_id}: {', '.join(sorted(left_out))} has done units of it, and is left out of the plan as it "
            "was made last: put it back into hosts.txt and plan anew, with 'shardfleet script' and the run's options, "
            "or launch the run, which has the others do them"
        )
    have = [bool(commits.place) for commits in gathered.found.values()]
    if not all(have) and not gathered.complete and (later := _appended_since(run, plan)) is not None:
        raise InputError(
            f"run {plan.run_id}: more was appended to its shards since; give the run that did so last, for all that is "
            f"there: shardfleet dedup {later.path}"
        )
    if have and not any(have):
        raise InputError(
            f"run {plan.run_id}: no host has its shards any more: they were replaced, or more was appended to them; "
            "then give the run that did so last, or, where its directory is gone, deduplicate what is there on one "
            "machine: shardfleet dedup DIR HOLDOUT"
        )
    if not gathered.complete:
        again = {"launch": "launch it", "append": "do the append", "dedup": "start the dedup that makes it"}
        raise InputError(
            "\n  ".join(
                [
                    f"run {plan.run_id} is not complete: copies of what is missing would stay; "
                    f"{again[plan.command]} again first",
                    *gathered.silent.values(),
                ]
            )
        )


def _appended_since(run: RunDirectory, plan: Plan) -> RunDirectory | None:
    """Of the runs beside this one the one that has appended to its shards last."""
    since: dict[int, RunDirectory] = {}
    for file in run.path.parent.glob("*/plan.json"):
        other = RunDirectory(file.parent)
        try:
            earlier = other.read_plan().earlier
        except PlanError:
            continue  # of another version: nothing is known of it
        if plan.identity in earlier:
            since[len(earlier)] = other
    return since[max(since)] if since else None
