"""Do the units of a file follow each other? Files that are cut by lines chain by bytes."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from shard.records.frozen import read_sealed, sealed_json
from shard.records.inputs import LineRange
from shard.records.shards import ShardRecord
from shard.verify.chain import LineChain, row_problems
from shard.verify.report import UnitFacts
from shard.verify.stores import verify
from tests.support.inputs import json_lines, planned_job
from tests.support.worker import write_all


def facts(unit: int, start: int, end: int, *, size: int = 100, rows: int = 1) -> UnitFacts:
    return UnitFacts(
        unit=unit, path="a.jsonl", content_id="x", row_start=0, row_end=rows, file_rows=rows, documents=rows, tokens=1,
        dropped=0, shared="", checked=True, lines=LineRange(start=start, end=end, file_bytes=size),
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    name: str
    units: list[UnitFacts]
    problem: str | None


CASES = [
    Case("whole", [facts(0, 0, 40), facts(1, 40, 70), facts(2, 70, 100)], None),
    Case("one line over a part", [facts(0, 0, 80), facts(1, 30, 30, rows=0), facts(2, 80, 100)], None),
    Case("last part within a line", [facts(0, 0, 100), facts(1, 30, 30, rows=0), facts(2, 60, 60, rows=0)], None),
    Case("gap", [facts(0, 0, 40), facts(1, 45, 70), facts(2, 70, 100)], "begins at byte 45 of a.jsonl, where byte 40"),
    Case("overlap", [facts(0, 0, 40), facts(1, 35, 70), facts(2, 70, 100)], "begins at byte 35 of a.jsonl, where"),
    Case("gap behind an empty part", [facts(0, 0, 80), facts(1, 30, 30), facts(2, 81, 100)], "where byte 80 was next"),
    Case("no beginning", [facts(0, 10, 40), facts(1, 40, 70), facts(2, 70, 100)], "begins at byte 10"),
    Case("empty beginning", [facts(0, 0, 0), facts(1, 40, 70), facts(2, 70, 100)], "begins at byte 40"),
    Case("no end", [facts(0, 0, 40), facts(1, 40, 70), facts(2, 70, 99)], "ends at byte 99 of 100"),
    Case("empty end", [facts(0, 0, 40), facts(1, 40, 90), facts(2, 60, 60)], "ends at byte 90 of 100"),
    Case("a unit is elsewhere", [facts(0, 0, 40), facts(2, 70, 100)], None),
    Case("overlap over a unit that is elsewhere", [facts(0, 0, 80), facts(2, 70, 100)], "unit 0 took lines up to 80"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_lines_chain_by_bytes(case: Case) -> None:
    """Each byte of the file is in one unit; what speaks against it is said with the byte."""
    chain = LineChain()
    found = [
        problem for unit in case.units for problem in chain.problems(unit, first=unit.unit == 0, final=unit.unit == 2)
    ]
    assert (len(found), case.problem is not None) in ((0, False), (1, True))
    assert case.problem is None or case.problem in found[0]


def test_units_of_one_file_count_alike() -> None:
    """Of the units of a file, all chain by rows or all by bytes, and all knew it by the same size."""
    rows = replace(facts(1, 40, 100), lines=None)
    assert "otherwise than unit 0" in next(row_problems(rows, facts(0, 0, 40)))
    assert "had 90 bytes" in next(row_problems(facts(1, 40, 90, size=90), facts(0, 0, 40)))


def test_a_record_that_leaves_lines_out_is_found(tmp_path: Path) -> None:
    """A record that says it took other bytes, in both splits and with its seal, does not pass for coverage."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(json_lines([f"document {number}" for number in range(100)]))
    job = planned_job(tmp_path / "in", tmp_path / "out", unit_bytes=1000)
    write_all(job)
    directories = [tmp_path / "out" / split for split in ("train", "holdout")]
    assert verify(directories).coverage.complete
    for directory in directories:
        path = directory / "000002.json"
        record = read_sealed(path, ShardRecord)
        lines = record.source.lines
        assert lines is not None
        source = replace(record.source, lines=replace(lines, start=lines.start + 10))
        path.write_bytes(sealed_json(replace(record, source=source)))
    report = verify(directories)
    assert not report.coverage.complete
    assert [f"begins at byte {lines.start + 10}" in finding.problem for finding in report.findings] == [True]
