"""Was every source row taken exactly once? Facts of directories, from one host or many, and the proof over them (pure).

For every unit: train documents + holdout documents + dropped rows = rows taken; the units of a file follow each other
from its first row to its last; no unit stands in two places.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shard.records.frozen import canonical_json
from shard.records.identity import Identity, identity_at
from shard.records.progress import ranges_of
from shard.records.shards import SPLITS, Split
from shard.records.unit import Unit
from shard.verify.chain import LineChain, end_problems, row_problems
from shard.verify.report import Coverage, DirectoryReport, Finding, Report, UnitFacts


def report_of(directories: Iterable[DirectoryReport], units: Sequence[Unit] | None = None) -> Report:
    """Directories, of one host or of all hosts of a run, with the proof over them."""
    listed = tuple(directories)
    return Report(directories=listed, coverage=prove_coverage(listed, units))


def prove_coverage(directories: Sequence[DirectoryReport], units: Sequence[Unit] | None = None) -> Coverage:
    """Prove that every row was taken exactly once, or say what speaks against it.

    Args:
        directories: of one fingerprint; others are findings.
        units: all units of the plan. With them, a missing unit is an error; without, it may lie on another host.
    """
    identity = _common_identity(directories)
    if identity is None:
        return _nothing_proven()
    proof = _Proof(identity, directories, units)
    proof.compare_directories()
    proof.place_units()
    proof.pair_splits()
    proof.chain_rows()
    proof.count_missing()
    return proof.coverage()


@dataclass(frozen=True, slots=True)
class _Place:
    """One shard and where it lies."""

    report: DirectoryReport
    facts: UnitFacts

    @property
    def file(self) -> str:
        return f"{self.report.directory}/{self.facts.unit:06d}.json"


class _Proof:
    """The steps of a proof, and what they find."""

    def __init__(
        self, identity: Identity, directories: Sequence[DirectoryReport], units: Sequence[Unit] | None
    ) -> None:
        self._identity = identity
        self._directories = [
            report for report in directories if report.record is not None and report.record.identity == identity
        ]
        self._all = directories
        self._plan = units
        self._planned = {unit.ordinal: unit for unit in units or ()}
        record = self._directories[0].record
        self._chain = (identity,) if record is None else record.chain
        self._shards: dict[Split, dict[int, _Place]] = {split: {} for split in SPLITS}
        self._unreadable = {ordinal for report in directories for ordinal in report.unreadable}
        self._missing: list[tuple[int, int]] = []
        self._proven: set[int] = set()
        self._findings: list[Finding] = []

    def compare_directories(self) -> None:
        """One fingerprint, that of the plan; the same names."""
        first = self._directories[0]
        if self._plan is not None:
            new = [unit for unit in self._plan if unit.ordinal >= self._identity.first_unit]
            planned = hashlib.sha256(canonical_json(new)).hexdigest()
            if planned != self._identity.units_sha256:
                self._error(f"{first.directory}/dataset.json", "holds shards of other units than the plan has")
        for report in self._all:
            if report.record is None or first.record is None:
                continue
            file = f"{report.directory}/dataset.json"
            if report.record.identity != self._identity:
                differing = "; ".join(report.record.identity.differing(self._identity))
                self._error(file, f"another fingerprint than {first.directory}: {differing}. Verify it by itself")
                continue
            ours, theirs = report.record, first.record
            if (ours.source, ours.tokenizer) != (theirs.source, theirs.tokenizer):
                self._warning(
                    file,
                    f"names dataset {ours.source.dataset} at {ours.source.revision} and tokenizer "
                    f"{ours.tokenizer.name}, where {first.directory} names {theirs.source.dataset} at "
                    f"{theirs.source.revision} and {theirs.tokenizer.name}; the bytes are the same",
                )

    def place_units(self) -> None:
        """Every unit once per split; a shared file system shows one shard to several hosts."""
        for report in self._directories:
            if report.record is None:
                continue
            shards = self._shards[report.record.split]
            for facts in report.units:
                place = _Place(report, facts)
                seen = shards.setdefault(facts.unit, place)
                if seen is place:
                    continue
                if seen.report.place != report.place or seen.facts.shared != facts.shared:
                    self._error(place.file, f"unit {facts.unit} stands twice: also in {seen.file}")
                elif facts.checked:
                    shards[facts.unit] = place
        if self._plan is None:
            return  # other hosts may have read what this one left to them
        for shards in self._shards.values():
            for place in shards.values():
                if not place.facts.checked and place.report.basis == "bytes":
                    self._error(place.file, "not verified: the unit is in the job of no host that was asked")

    def pair_splits(self) -> None:
        """Both records of a unit are there, agree, and account for its rows."""
        for split, other in zip(SPLITS, reversed(SPLITS), strict=True):
            if self._shards[split] and not self._has(other):
                some = next(iter(self._shards[split].values()))
                self._error(some.report.directory, f"{other} not found: coverage not proven, name its directory too")
        if not all(self._has(split) for split in SPLITS):
            return
        train, holdout = self._shards["train"], self._shards["holdout"]
        for ordinal in sorted(train.keys() ^ holdout.keys()):
            alone = train.get(ordinal) or holdout[ordinal]
            other = "holdout" if ordinal in train else "train"
            if ordinal not in self._unreadable:
                self._error(alone.file, f"unit {ordinal} has no {other} record; launch again to redo the unit")
        for ordinal in sorted(train.keys() & holdout.keys()):
            problem = self._pair_problem(train[ordinal], holdout[ordinal])
            if problem is None:
                self._proven.add(ordinal)
            else:
                self._error(train[ordinal].file, problem)

    def _pair_problem(self, train: _Place, holdout: _Place) -> str | None:
        ours, theirs = train.facts, holdout.facts
        differing = [
            f"{field} {getattr(ours, field)!r}, not {getattr(theirs, field)!r}"
            for field in ("path", "content_id", "row_start", "row_end", "file_rows", "lines")
            if getattr(ours, field) != getattr(theirs, field)
        ]
        if differing:
            return f"differs from {holdout.file}: {'; '.join(differing)}"
        if ours.shared != theirs.shared:
            return f"differs from {holdout.file} in host, rank, seconds or the reasons for dropped rows"
        rows = ours.row_end - ours.row_start
        found = ours.documents + theirs.documents + ours.dropped + theirs.dropped
        if found != rows:
            return (
                f"rows {ours.row_start} to {ours.row_end} are {rows}, but {ours.documents} train + "
                f"{theirs.documents} holdout documents ({holdout.file}) + {ours.dropped + theirs.dropped} dropped "
                f"are {found}"
            )
        unit = self._planned.get(ours.unit)
        if unit is not None and (unit.path, unit.content_id) != (ours.path, ours.content_id):
            return f"took {ours.path} ({ours.content_id}); the plan has {unit.path} ({unit.content_id})"
        return None

    def chain_rows(self) -> None:
        """The units of a file follow each other from its first row to its last, as far as they are there."""
        shards = {**self._shards["holdout"], **self._shards["train"]}
        # What was appended may have files of the same names.
        before: dict[tuple[Identity | None, str], _Place] = {}
        lines: dict[Identity | None, LineChain] = {}
        for ordinal in sorted(shards):
            place = shards[ordinal]
            identity = identity_at(self._chain, ordinal)
            file = identity, place.facts.path
            facts, last = place.facts, before.get(file)
            before[file] = place
            for problem in row_problems(facts, last.facts if last else None):
                self._unprove(place, problem + (f" ({last.file})" if last else ""))
            first, final = self._is_end(ordinal, -1, shards), self._is_end(ordinal, +1, shards)
            for problem in end_problems(facts, first=first, final=final):
                self._unprove(place, problem)
            for problem in lines.setdefault(identity, LineChain()).problems(facts, first=first, final=final):
                self._unprove(place, problem)

    def _is_end(self, ordinal: int, step: Literal[-1, 1], shards: Mapping[int, _Place]) -> bool:
        """Whether a unit is known to be the first (step -1) or the last (step 1) of its file."""
        if ordinal in self._planned:
            unit = self._planned[ordinal]
            return unit.part == (0 if step < 0 else unit.parts - 1)
        if identity_at(self._chain, ordinal) != identity_at(self._chain, ordinal + step):
            return True
        neighbour = shards.get(ordinal + step)
        if neighbour is not None:
            return neighbour.facts.path != shards[ordinal].facts.path
        return not 0 <= ordinal + step < self._identity.units

    def count_missing(self) -> None:
        """Which units of the dataset have no record at all."""
        present = set(self._unreadable).union(*self._shards.values())
        for ordinal in sorted(present):
            if ordinal >= self._identity.units:
                shard = self._shards["train"].get(ordinal) or self._shards["holdout"].get(ordinal)
                file = shard.file if shard else f"unit {ordinal}"
                self._error(file, f"unit {ordinal} of a dataset of {self._identity.units} units")
        # Gaps between what is there: a wrong number of units must not cost memory.
        expected = 0
        for start, end in [*ranges_of(present), (self._identity.units, self._identity.units)]:
            if start > expected:
                self._missing.append((expected, min(start, self._identity.units)))
            expected = max(expected, end)
        self._missing = [(start, end) for start, end in self._missing if start < end]
        if self._plan is not None:
            for start, end in self._missing:
                names = f"unit {start}" if end == start + 1 else f"units {start} to {end - 1}"
                self._error(names, "no host holds a record; launch again")

    def coverage(self) -> Coverage:
        train = [place.facts for place in self._shards["train"].values()]
        holdout = [place.facts for place in self._shards["holdout"].values()]
        return Coverage(
            fingerprint=self._identity.fingerprint,
            units=self._identity.units,
            proven=len(self._proven),
            missing=tuple(self._missing),
            complete=len(self._proven) == self._identity.units
            and all(finding.severity != "error" for finding in self._findings),
            rows=sum(facts.row_end - facts.row_start for facts in train),
            documents=sum(facts.documents for facts in train),
            holdout_documents=sum(facts.documents for facts in holdout),
            dropped=sum(facts.dropped for facts in train),
            tokens=sum(facts.tokens for facts in train),
            holdout_tokens=sum(facts.tokens for facts in holdout),
            findings=tuple(self._findings),
        )

    def _has(self, split: Split) -> bool:
        return any(report.record is not None and report.record.split == split for report in self._directories)

    def _unprove(self, place: _Place, problem: str) -> None:
        self._proven.discard(place.facts.unit)
        self._error(place.file, problem)

    def _error(self, file: str, problem: str) -> None:
        self._findings.append(Finding(severity="error", file=file, problem=problem))

    def _warning(self, file: str, problem: str) -> None:
        self._findings.append(Finding(severity="warning", file=file, problem=problem))


def _common_identity(directories: Sequence[DirectoryReport]) -> Identity | None:
    """The identity that most directories have; one that its own fingerprint belies has no vote."""
    records = [report.record for report in directories if report.record is not None]
    sound = [record.identity for record in records if record.fingerprint == record.identity.fingerprint]
    votes = Counter(sound or [record.identity for record in records])
    return votes.most_common(1)[0][0] if votes else None


def _nothing_proven() -> Coverage:
    return Coverage(
        fingerprint="",
        units=0,
        proven=0,
        missing=(),
        complete=False,
        rows=0,
        documents=0,
        holdout_documents=0,
        dropped=0,
        tokens=0,
        holdout_tokens=0,
        findings=(),
    )
