"""The table of faults: whole, and what was measured."""

import json
from pathlib import Path

from tests.support.faultlog import ROWS, replaced, table

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "faults.md"


def line(row: str, **seconds: float) -> str:
    return json.dumps({"row": row, "seconds": seconds, "identical": True, "load": 0.5}) + "\n"


def test_a_cell_is_the_median_of_its_measure() -> None:
    """Of several runs the table shows the middle one; of a row that nobody has measured it says so."""
    report = "".join(line("ctrl_c", zero=zero, exit=4.0) for zero in (9.0, 1.0, 2.0))
    rows = table(report).splitlines()
    assert len(rows) == 2 + len(ROWS)
    assert rows[2].split(" | ")[2:] == ["2.0 to zero processes on every host; 4.0 to the exit code", "yes", "1.4 |"]
    assert all("not measured" in row for row in rows[3:])


def test_the_long_form_is_shown() -> None:
    """Where a fault was tried short and long, only what the long one took counts."""
    report = line("hub_503", size=25.0, again=9.0, exit=9.0) + line("hub_503", size=120.0, again=40.0, exit=50.0)
    (row,) = (row for row in table(report).splitlines() if "503" in row)
    assert "503 for 120 s" in row
    assert "40.0 from" in row


def test_the_document_has_every_row_measured() -> None:
    """docs/faults.md has the table of these rows, each with what a run of its test has shown, and can be renewed."""
    text = DOCUMENT.read_text()
    found = [row for row in text.splitlines() if row.startswith("| ")][1:]
    assert len(found) == len(ROWS)
    for row, shown in zip(ROWS.values(), found, strict=True):
        event, happens, seconds, identical, prototype = shown.strip("| ").split(" | ") + [""] * (not row.prototype)
        assert event.startswith(row.event.partition("{")[0])
        assert (happens, identical, prototype.strip()) == (row.happens, "yes", row.prototype)
        assert all(words in seconds for words in row.measures.values())
    assert replaced(text, table("")).count("not measured") == len(ROWS)
