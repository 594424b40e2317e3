"""provision/run/watch.py: lines from the hosts, kept and shown."""

import io
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.plan.ledger import read_ledger
from provision.plan.plan import Policy
from provision.plan.rundir import RunDirectory
from provision.run.keeper import replay
from provision.run.shows import Style
from provision.run.watch import watch
from shard.records.progress import AnyEvent, HostDone, HostStarted, Progress, UnitDone, encode
from tests.support import disks
from tests.support.plans import plan_of

EVENTS: tuple[AnyEvent, ...] = (
    HostStarted(host="alpha", run_id="r", pid=1, ranks=2, units=3),
    UnitDone(
        host="alpha", unit=0, rank=0, row_start=0, row_end=12, file_rows=12, documents=9, holdout_documents=1,
        tokens=900, holdout_tokens=100, dropped=2, text_bytes=100, seconds=1.0,
    ),
    Progress(
        host="alpha", units_done=1, units_failed=0, documents=10, tokens=1000, text_bytes=100, retries=0, seconds=2.0,
        ranks=[(0, 1, 100)],
    ),
    HostDone(host="alpha", outcome="incomplete", units_done=1, units=3, quarantined=[]),
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.make()
    directory.write_plan(plan_of())
    return directory


def watched(run: RunDirectory, lines: bytes, style: Style) -> str:
    """What the watcher prints for these bytes on its standard input."""
    reading, writing = os.pipe()
    os.write(writing, lines)
    os.close(writing)
    output = io.StringIO()
    try:
        watch(run, reading, output, style, parent=os.getppid())
    finally:
        os.close(reading)
    return output.getvalue()


def lines_of(events: tuple[AnyEvent, ...]) -> bytes:
    return b"".join(b"alpha: " + encode(event) for event in events)


def known(run: RunDirectory) -> dict[int, str]:
    """Unit → host, as the ledger has it."""
    return {unit: entry.host for unit, entry in read_ledger(run.ledger, run.read_plan().fingerprint).items()}


def test_events_are_passed_through_as_json(run: RunDirectory) -> None:
    """With --json every event comes out as one object with its time, and what is no event as a log object."""
    output = watched(run, b"alpha: ssh: a word\n" + lines_of(EVENTS), "json")
    found = [json.loads(line) for line in output.splitlines()]
    assert [event["event"] for event in found] == ["log", "host_started", "unit_done", "progress", "host_done"]
    assert found[0]["text"] == "ssh: a word"
    assert all(event["time"] > 0 for event in found)


def test_what_was_watched_can_be_replayed(run: RunDirectory) -> None:
    """The events file alone gives back what is known of the latest start."""
    watched(run, lines_of(EVENTS), "plain")
    state = replay(run)
    assert state.committed == {0: "alpha"}
    assert (state.totals.tokens, state.hosts["alpha"].phase) == (900, "incomplete")
    watched(run, lines_of(EVENTS[:1]), "plain")
    assert replay(run).committed == {}


def test_the_ledger_outlives_a_start_that_hears_nothing(run: RunDirectory) -> None:
    """Units known to be committed stay in the ledger when a later start is cut off before a host has spoken."""
    watched(run, lines_of(EVENTS), "plain")
    watched(run, b"", "plain")
    assert known(run) == {0: "alpha"}


def test_a_line_without_its_end_is_taken(run: RunDirectory) -> None:
    """The last line of a host that was cut off counts, whole or not."""
    assert "half a wo" in watched(run, b"alpha: half a wo", "plain")


def test_plain_lines_have_the_figures(run: RunDirectory) -> None:
    """Without a terminal there is a line of figures at the end."""
    last = watched(run, lines_of(EVENTS), "plain").splitlines()[-1]
    assert "1/6 units" in last


def test_the_dashboard_is_drawn(run: RunDirectory) -> None:
    """The live style draws hosts and cluster."""
    output = watched(run, lines_of(EVENTS), "live")
    assert "alpha" in output
    assert "cluster" in output


def test_a_torn_events_file_can_be_read(run: RunDirectory) -> None:
    """A line that a power cut tore is passed over, and the next start begins a line of its own."""
    watched(run, lines_of(EVENTS), "plain")
    with run.events.open("ab") as events:
        events.write(b'{"time": 1, "event": "unit_do')
    assert replay(run).committed == {0: "alpha"}
    watched(run, lines_of(EVENTS[:2]), "plain")
    assert replay(run).committed == {0: "alpha"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    with disks.small_disk(tmp_path / "disk", "1m") as mount:
        yield mount


@pytest.mark.root
@pytest.mark.parametrize("style", ["plain", "json"])
def test_a_full_disk_does_not_end_the_watcher(style: Style, small_disk: Path) -> None:
    """On a full disk every line is still taken and shown, that none is kept is said once, and when there is room
    again the next start begins with a line of its own."""
    directory = RunDirectory(small_disk / "run")
    directory.make()
    directory.write_plan(plan_of())
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    directory.events.touch()
    output = watched(directory, b"alpha: a word\n" * 3 + lines_of(EVENTS), style)
    assert output.count("events cannot be kept") == 1
    assert output.count("a word") == 3
    assert "1/6 units" in output or "host_done" in output
    assert directory.events.stat().st_size == 0
    ballast.unlink()
    watched(directory, lines_of(EVENTS), style)
    assert replay(directory).committed == {0: "alpha"}
    assert known(directory) == {0: "alpha"}


@pytest.mark.root
def test_a_full_disk_keeps_no_host_from_being_stopped(small_disk: Path) -> None:
    """With `--on-host-failure abort` the other hosts are stopped when one fails, though there is no room to write down
    why: that is said."""
    directory = RunDirectory(small_disk / "run")
    directory.make()
    directory.write_plan(plan_of(policy=Policy(on_host_failure="abort")))
    directory.events.touch()
    disks.fill(small_disk, 0, "pages")
    failed = HostDone(host="alpha", outcome="failed", units_done=1, units=3, quarantined=[], reason="no room")
    reading, writing = os.pipe()
    os.write(writing, lines_of((*EVENTS[:-1], failed)))
    output = io.StringIO()

    def hang_up() -> None:
        for _ in range(2000):
            if "stopping every host: alpha failed: no room" in output.getvalue():
                break
            time.sleep(0.005)
        os.close(writing)

    before = {*threading.enumerate()}
    threading.Thread(target=hang_up).start()
    try:
        watch(directory, reading, output, "plain", parent=os.getppid())
    finally:
        for thread in {*threading.enumerate()} - before:  # those that stop hosts use the disk
            thread.join()
        os.close(reading)
    assert f"{directory.aborted}: No space left on device" in output.getvalue()
    assert "stopping every host: alpha failed: no room" in output.getvalue()
