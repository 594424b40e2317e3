"""The fault matrix: its rows, what a test has measured of them, and the table of both.

Tests append what they measured as JSON lines to the file named by SHARDFLEET_FAULT_REPORT, when it is set.
`python -m tests.support.faultlog REPORT [DOCUMENT]` prints the table, or puts it into a Markdown document in place of
the one there.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

VARIABLE = "SHARDFLEET_FAULT_REPORT"
LONG = os.environ.get("SHARDFLEET_FAULT_LONG") == "1"
"""Whether faults may take their time, and settings are the default ones; see docs/faults.md."""
Measured = Mapping[str, Mapping[str, float]]
"""Row → what was measured → seconds."""


@dataclass(frozen=True)
class Row:
    """One event, and what becomes of a run in which it happens."""

    event: str
    happens: str
    measures: Mapping[str, str]
    """What is measured → the words for it."""
    prototype: str = ""
    """Seconds that the prototype of the design took."""


ZERO = "zero"
EXIT = "exit"
AGAIN = "again"
SIZE = "size"
"""Not measured, but chosen: how long the fault lasts, or the setting that matters. The largest one is shown."""
_STOPPED = {ZERO: "to zero processes on every host", EXIT: "to the exit code"}

ROWS: Mapping[str, Row] = {
    "ctrl_c": Row("Ctrl+C", "every host stops; exit 130", _STOPPED, "1.4"),
    "ctrl_c_typed": Row("Ctrl+C typed at a terminal", "the same", _STOPPED, "1.4"),
    "ctrl_c_deaf": Row(
        "Ctrl+C, ranks ignore SIGTERM, `--grace 3`", "killed after the grace; exit 130", _STOPPED, "3.9"
    ),
    "ctrl_c_daemons": Row(
        "Ctrl+C, ranks and daemonised grandchildren ignore SIGTERM, `--grace 3`",
        "found by their cookie and killed after the grace; exit 130",
        _STOPPED,
        "4.0",
    ),
    "ctrl_c_twice": Row(
        "Ctrl+C twice, ranks ignore SIGTERM, `--grace 60`", "the second cuts the grace short; exit 130", _STOPPED
    ),
    "hang_up": Row("the terminal is closed", "every host stops; exit 130", _STOPPED),
    "sigterm": Row("SIGTERM to the launcher", "every host stops; exit 130", _STOPPED),
    "sighup": Row("SIGHUP to the launcher", "every host stops; exit 130", _STOPPED),
    "kill_launcher": Row(
        "SIGKILL of the launcher",
        "standard input ends on every host, which stops by itself",
        {ZERO: "to zero processes on every host"},
        "3.1",
    ),
    "kill_pdsh": Row("SIGKILL of pdsh", "the same, and the launcher says so; exit 1", _STOPPED, "0.5"),
    "kill_ssh": Row(
        "SIGKILL of one host's ssh",
        "that host stops, is started again and goes on; exit 0",
        {ZERO: "to zero of its old processes", AGAIN: "to its ranks at work again"},
        "0.7",
    ),
    "kill_supervisor": Row(
        "SIGKILL of a supervisor",
        "the kernel ends its ranks; the host is started again and goes on; exit 0",
        {ZERO: "to zero of its old processes", AGAIN: "to its ranks at work again"},
    ),
    "kill_rank": Row(
        "SIGKILL of a rank",
        "its unit goes back to the queue, a new rank takes its place; exit 0",
        {AGAIN: "to the new rank"},
    ),
    "oom_kill": Row(
        "a rank is killed for want of memory",
        "the same, and the unit is not put aside; exit 0",
        {AGAIN: "to the new rank"},
    ),
    "link_down": Row(
        "a link is down for good, `--lost-after {size:.0f}`, `--lease 12`",
        "the host is lost and others do its units; it stops by its lease; exit 3, the host named",
        {"lost": "to the loss", "moved": "to the units moved", ZERO: "to zero processes on that host"},
    ),
    "link_down_idle": Row(
        "the same while the others wait for work, `--lost-after {size:.0f}`",
        "the same",
        {"lost": "to the loss"},
    ),
    "link_down_20": Row(
        "a link is down for 20 s, default settings",
        "no host is lost, nothing is started again or moved; exit 0",
        {AGAIN: "from the link to that host's next unit"},
    ),
    "ctrl_c_cut_off": Row(
        "Ctrl+C while a host is cut off, `--lease 5`, ConnectTimeout {size:.0f}",
        "the others stop at once, that one by its lease; exit 3, the host named",
        {ZERO: "from the cut to zero processes on every host", EXIT: "from Ctrl+C to the exit code"},
        "7.4",
    ),
    "disk_full": Row(
        "a disk is full",
        "that host gives up, others do its units, what it has committed counts; exit 0",
        {"moved": "to the units moved"},
    ),
    "hub_503": Row(
        "the Hub answers 503 for {size:.0f} s",
        "ranks wait, longer each time, at most a minute; no unit fails; exit 0",
        {AGAIN: "from the Hub's return to the next unit", EXIT: "to the exit code"},
    ),
    "hub_429": Row(
        "the Hub answers 429 to every rank for {size:.0f} s",
        "ranks wait as long as the Hub says and a random while more; no unit fails; exit 0",
        {AGAIN: "from the Hub's return to the next unit", EXIT: "to the exit code"},
    ),
}
_HEADER = """\
| event | what happens | seconds | bytes identical | prototype |
|---|---|---|---|---|
"""


def write(measured: Measured) -> None:
    """Keep what was measured in a run whose shards were, in the end, those of the undisturbed one."""
    for row, seconds in measured.items():
        unknown = seconds.keys() - ROWS[row].measures.keys() - {SIZE}
        if unknown:
            raise ValueError(f"row {row} has no {', '.join(unknown)}")
    if path := os.environ.get(VARIABLE):
        with Path(path).open("a") as file:
            for row, seconds in measured.items():
                rounded = {name: round(value, 2) for name, value in seconds.items()}
                line = {"row": row, "seconds": rounded, "identical": True, "load": os.getloadavg()[0]}
                file.write(json.dumps(line) + "\n")


def table(report: str) -> str:
    """The Markdown table of JSON lines: the median of each measure."""
    entries = [json.loads(line) for line in report.splitlines()]
    return _HEADER + "".join(
        f"| {' | '.join(_cells(row, [entry['seconds'] for entry in entries if entry['row'] == name]))} |\n"
        for name, row in ROWS.items()
    )


def _cells(row: Row, seen: Sequence[Mapping[str, float]]) -> Iterator[str]:
    # Tests that take long have a short form for those in a hurry.
    size = max((seconds[SIZE] for seconds in seen if SIZE in seconds), default=0.0)
    shown = [seconds for seconds in seen if seconds.get(SIZE, size) == size]
    taken = [
        f"{median(seconds[measure] for seconds in shown):.1f} {words}"
        for measure, words in row.measures.items()
        if shown
    ]
    yield row.event.format(size=size)
    yield row.happens
    yield "; ".join(taken) or "not measured"
    yield "yes" if taken else ""
    yield row.prototype


def replaced(document: str, new: str) -> str:
    """A document with its table of faults exchanged. Raises ValueError when it has none."""
    head, begin, rest = document.partition(_HEADER.partition("\n")[0])
    if not begin:
        raise ValueError("no table of faults in the document")
    lines = rest.splitlines(keepends=True)[1:]
    after = next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return head + new + "".join(lines[after:])


def main(report: str, document: str | None = None) -> None:
    new = table(Path(report).read_text())
    if document is None:
        sys.stdout.write(new)
    else:
        Path(document).write_text(replaced(Path(document).read_text(), new))


if __name__ == "__main__":
    main(*sys.argv[1:])
