"""Which host keeps which unit when a run is over, and what that makes of the dataset (pure)."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from provision.plan.hostjob import job_of
from provision.plan.ledger import Entry, Ledger
from provision.plan.plan import HostPlan, Plan
from shard.host.commits import Commit, Commits
from shard.records.frozen import canonical_json
from shard.records.job import FORMAT
from shard.records.manifest import MANIFEST_VERSION, HostShare, Manifest, Proof, ranks_with_data
from shard.records.progress import UnitCounts, ranges_of
from shard.records.shards import SPLITS, directory_record
from shard.verify.coverage import report_of
from shard.verify.report import Coverage, DirectoryReport, UnitFacts


@dataclass(frozen=True, slots=True)
class Kept:
    """A unit and the host that keeps it."""

    host: str
    counts: UnitCounts
    record: Commit | None
    """None where only the ledger knows."""


@dataclass(frozen=True, slots=True)
class Spare:
    """A second copy of a unit."""

    unit: int
    host: str
    """Has it."""
    keeper: str
    """Has it, too, and keeps it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where everything is."""

    kept: Mapping[int, Kept]
    """By unit, ascending."""
    spare: tuple[Spare, ...]
    """Copies that are to go."""
    stuck: tuple[Spare, ...]
    """Copies that are not taken away: their holdout files are the keeper's own, or they were there before this run."""
    stores: Mapping[str, str]
    """Host → the first host of the plan that sees the same output directory."""


def place(plan: Plan, found: Mapping[str, Commits], ledger: Ledger) -> Placement:
    """Give every unit to one host.

    `found` is what hosts answered. Where several have a unit, the one that the ledger names keeps it, as the launcher
    heard of that first, else the first in the plan's order. The ledger alone speaks for hosts that were not asked; what
    another host shows outranks it, for that is there.
    """
    order = [host.name for host in plan.hosts]
    stores = _stores(order, found)
    holders: dict[int, list[tuple[str, Commit]]] = {}
    for name in order:
        for commit in found[name].units if name in found else ():
            holders.setdefault(commit.counts.unit, []).append((name, commit))
    kept: dict[int, Kept] = {}
    spare: list[Spare] = []
    stuck: list[Spare] = []
    for unit in range(plan.identity.units):
        entry = ledger.get(unit)
        copies = _one_a_store(holders.get(unit, ()), stores)
        if not copies:
            if entry is not None and entry.host in stores and entry.host not in found:
                kept[unit] = Kept(entry.host, entry.counts, None)
            continue
        named = stores.get(entry.host) if entry is not None else None
        host, commit = copies.get(named or "") or next(iter(copies.values()))
        kept[unit] = Kept(host, commit.counts, commit)
        for other, _ in copies.values():
            if other != host:
                shared = found[other].holdout_place == found[host].holdout_place
                # What was there before this run is not for it to remove.
                (spare if plan.has(unit) and not shared else stuck).append(Spare(unit, other, host))
    return Placement(kept, tuple(spare), tuple(stuck), stores)


def ledger_of(plan: Plan, placement: Placement, ledger: Ledger, found: Collection[str]) -> Ledger:
    """The ledger of the plan's units, brought up to what is known: what hosts were found not to have is gone."""
    others = {unit: entry for unit, entry in ledger.items() if entry.host not in found}
    ours = {unit: kept for unit, kept in placement.kept.items() if plan.has(unit)}
    return others | {unit: Entry(kept.host, kept.counts) for unit, kept in ours.items()}


def manifest_of(
    plan: Plan, placement: Placement, coverage: Coverage, *, asked: Collection[str], twice: Iterable[int]
) -> Manifest:
    """What the hosts hold together; `twice` are units of which a second copy is still there."""
    by_host: dict[str, list[Kept]] = {host.name: [] for host in plan.hosts}
    for kept in placement.kept.values():
        by_host[kept.host].append(kept)
    hosts = tuple(_share(host, by_host[host.name], placement, host.name in asked) for host in plan.hosts)
    world_size, tokens_per_rank = ranks_with_data(hosts)
    common = directory_record(job_of(plan, plan.hosts[0]), "train")
    return Manifest(
        format=FORMAT,
        version=MANIFEST_VERSION,
        fingerprint=plan.fingerprint,
        run_id=plan.run_id,
        dtype=common.dtype,
        tokenizer=common.tokenizer,
        source=common.source,
        holdout=common.holdout,
        documents=sum(host.documents for host in hosts),
        tokens=sum(host.tokens for host in hosts),
        holdout_documents=sum(host.holdout_documents for host in hosts),
        holdout_tokens=sum(host.holdout_tokens for host in hosts),
        world_size=world_size,
        tokens_per_rank=tokens_per_rank,
        hosts=hosts,
        proof=_proof(coverage, placement, sorted(set(twice))),
    )


def coverage_of(plan: Plan, placement: Placement) -> Coverage:
    """The proof over what hosts showed and the ledger knows, with what speaks against it."""
    shares: dict[str, list[UnitCounts]] = {host.name: [] for host in plan.hosts}
    files: dict[int, tuple[str, str]] = {}
    for unit, kept in placement.kept.items():
        shares[kept.host].append(kept.counts)
        if kept.record is not None and not plan.has(unit):
            files[unit] = kept.record.path, kept.record.content_id
    reports = (report for host in plan.hosts for report in reports_on(plan, host, shares[host.name], "records", files))
    return report_of(reports, plan.units).coverage


def reports_on(
    plan: Plan,
    host: HostPlan,
    units: Iterable[UnitCounts],
    basis: Literal["records", "ledger"],
    files: Mapping[int, tuple[str, str]] = MappingProxyType({}),
) -> list[DirectoryReport]:
    """What is known of a host's units without reading their bytes, as its own verification would report it.

    `files` has path and content id of units that are not the plan's.
    """
    listed = list(units)
    job = job_of(plan, host)
    return [
        DirectoryReport(
            directory=f"{host.name}:{directory}",
            place=f"{host.name}:{directory}",
            record=directory_record(job, split),
            units=tuple(
                _facts(counts, *(files.get(counts.unit) or _file(plan, counts.unit)), train=split == "train")
                for counts in listed
            ),
            unreadable=(),
            bytes_checked=0,
            findings=(),
            basis=basis,
        )
        for split, directory in zip(SPLITS, (host.output_dir, host.holdout_dir), strict=True)
    ]


def _stores(order: Iterable[str], found: Mapping[str, Commits]) -> dict[str, str]:
    first: dict[str, str] = {}
    return {name: first.setdefault((found[name].place if name in found else "") or name, name) for name in order}


def _one_a_store(copies: Iterable[tuple[str, Commit]], stores: Mapping[str, str]) -> dict[str, tuple[str, Commit]]:
    """Store → (host, unit); of the hosts that see one file the one that wrote it."""
    chosen: dict[str, tuple[str, Commit]] = {}
    for name, commit in copies:
        if stores[name] not in chosen or commit.host == name:
            chosen[stores[name]] = name, commit
    return chosen


def _share(host: HostPlan, kept: list[Kept], placement: Placement, asked: bool) -> HostShare:
    return HostShare(
        name=host.name,
        ranks=host.ranks,
        first_rank=host.first_rank,
        output_dir=host.output_dir,
        holdout_dir=host.holdout_dir,
        store=placement.stores[host.name],
        known="records" if asked else "ledger",
        units=tuple(ranges_of(one.counts.unit for one in kept)),
        documents=sum(one.counts.documents for one in kept),
        tokens=sum(one.counts.tokens for one in kept),
        holdout_documents=sum(one.counts.holdout_documents for one in kept),
        holdout_tokens=sum(one.counts.holdout_tokens for one in kept),
    )


def _proof(coverage: Coverage, placement: Placement, twice: list[int]) -> Proof:
    return Proof(
        units=coverage.units,
        proven=coverage.proven,
        rows=coverage.rows,
        documents=coverage.documents,
        holdout_documents=coverage.holdout_documents,
        dropped=coverage.dropped,
        complete=coverage.complete and not twice,
        missing=coverage.missing,
        twice=tuple(ranges_of(twice)),
        shards_sha256=_shards_sha256(placement.kept),
    )


def _shards_sha256(kept: Mapping[int, Kept]) -> str | None:
    hashes: list[tuple[int, str, str]] = []
    for unit in sorted(kept):
        if (record := kept[unit].record) is None:
            return None
        hashes.append((unit, record.payload_sha256, record.holdout_payload_sha256))
    return hashlib.sha256(canonical_json(hashes)).hexdigest()


def _file(plan: Plan, ordinal: int) -> tuple[str, str]:
    unit = plan.unit(ordinal)
    return unit.path, unit.content_id


def _facts(counts: UnitCounts, path: str, content_id: str, *, train: bool) -> UnitFacts:
    return UnitFacts(
        unit=counts.unit,
        path=path,
        content_id=content_id,
        row_start=counts.row_start,
        row_end=counts.row_end,
        file_rows=counts.file_rows,
        documents=counts.documents if train else counts.holdout_documents,
        tokens=counts.tokens if train else counts.holdout_tokens,
        dropped=counts.dropped if train else 0,
        shared="",
        checked=False,
        lines=counts.lines,
    )
