"""provision/plan/ledger.py: which unit is committed where, as far as the launcher has been told."""

from pathlib import Path

import pytest

from provision.plan.ledger import Entry, encode_entry, read_ledger, write_ledger
from shard.records.progress import UnitCounts


def entry(unit: int, host: str = "alpha") -> Entry:
    return Entry(host, UnitCounts(unit, 0, 100, 100, 90, 1, 9000, 100, 9))


def test_the_ledger_comes_back(tmp_path: Path) -> None:
    """What was written is read, for its own fingerprint alone, and nobody else may read it."""
    path = tmp_path / "ledger.jsonl"
    ledger = {unit: entry(unit) for unit in (0, 1, 5)}
    write_ledger(path, "f", ledger)
    assert ledger == read_ledger(path, "f")
    assert read_ledger(path, "another") == {}
    assert path.stat().st_mode & 0o777 == 0o600


def test_commits_are_added_and_the_last_counts(tmp_path: Path) -> None:
    """A unit that was done again elsewhere is where it was done last."""
    path = tmp_path / "ledger.jsonl"
    write_ledger(path, "f", {0: entry(0)})
    with path.open("ab") as file:
        file.write(encode_entry(entry(1)) + encode_entry(entry(0, "beta")))
    assert {unit: known.host for unit, known in read_ledger(path, "f").items()} == {0: "beta", 1: "alpha"}


@pytest.mark.parametrize("end", [b'["alpha",[7,', b"", b"\xff\n", b"{}\n"])
def test_a_torn_line_is_passed_over(tmp_path: Path, end: bytes) -> None:
    """The last word of a launcher that was killed costs nothing but itself."""
    path = tmp_path / "ledger.jsonl"
    write_ledger(path, "f", {0: entry(0)})
    with path.open("ab") as file:
        file.write(end)
    assert read_ledger(path, "f") == {0: entry(0)}


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]\n", b'{"fingerprint": 1}\n'])
def test_without_a_ledger_nothing_is_known(tmp_path: Path, content: bytes | None) -> None:
    """A missing or damaged ledger is an empty one: hosts tell again what they have."""
    path = tmp_path / "ledger.jsonl"
    if content is not None:
        path.write_bytes(content)
    assert read_ledger(path, "f") == {}
