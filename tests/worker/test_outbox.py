"""shard/host/outbox.py in processes whose standard output is as bad as it gets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shard.records.progress import HostDone, Note, Progress, UnitDone, decode

EVENTS = 3000
_PROGRAM = """
import sys
from pathlib import Path
from shard.host.outbox import Outbox
from shard.records.progress import Note, Progress
outbox = Outbox(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    outbox.put(Note(host="h", text=f"{number} " + "x" * 500))
outbox.put(Progress(host="h", units_done=1, units_failed=0, documents=0, tokens=0, text_bytes=0, retries=0,
                    seconds=0.0, ranks=[]))
outbox.close(timeout=0.5)
"""

_PROGRESS_FIRST = """
import sys
from pathlib import Path
from shard.host.outbox import Outbox
from shard.records.progress import HostDone, Progress, UnitDone
outbox = Outbox(Path(sys.argv[1]))
for number in range(2000):
    outbox.put(Progress(host="h", units_done=number, units_failed=0, documents=0, tokens=0, text_bytes=0, retries=0,
                        seconds=0.0, ranks=[]))
for unit in range(500):
    outbox.put(UnitDone(host="h", unit=unit, rank=0, row_start=0, row_end=0, file_rows=0, documents=0,
                        holdout_documents=0, tokens=0, holdout_tokens=0, dropped=0, text_bytes=0, seconds=0.0))
outbox.put(HostDone(host="h", outcome="complete", units_done=500, units=500, quarantined=[]))
print("all put", file=sys.stderr, flush=True)
outbox.close(timeout=60.0)
"""


def command(directory: Path, events: int = EVENTS) -> list[str]:
    return [sys.executable, "-c", _PROGRAM, str(directory), str(events)]


def numbers(lines: list[bytes]) -> list[int]:
    events = [decode(line) for line in lines]
    return [int(event.text.split()[0]) for event in events if isinstance(event, Note)]


def test_whoever_listens_hears_all(tmp_path: Path) -> None:
    """Events go out in order, and to the file; progress goes out, and to a file of its own."""
    # Fewer than may wait before progress is left out, however slowly they are read.
    done = subprocess.run(command(tmp_path, 200), capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.splitlines()
    assert list(range(200)) == numbers(lines)
    assert isinstance(decode(lines[-1]), Progress)
    assert lines[:-1] == (tmp_path / "events.jsonl").read_bytes().splitlines()
    assert lines[-1] == (tmp_path / "progress.json").read_bytes().strip()


def test_nobody_reads(tmp_path: Path) -> None:
    """A reader that has stopped reading blocks nobody: the file has every event, and the process ends."""
    reading, writing = os.pipe()
    done = subprocess.run(command(tmp_path), stdout=writing, stderr=subprocess.PIPE, timeout=60)
    os.close(writing)
    os.close(reading)
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(range(EVENTS)) == numbers((tmp_path / "events.jsonl").read_bytes().splitlines())


def test_progress_leaves_room_for_the_rest(tmp_path: Path) -> None:
    """After hours of progress that nobody read, a reader that comes back still hears what was said only once."""
    program = [sys.executable, "-c", _PROGRESS_FIRST, str(tmp_path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == b"all put\n"
        events = [decode(line) for line in process.stdout]
        assert process.wait(60) == 0
    assert [event.unit for event in events if isinstance(event, UnitDone)] == list(range(500))
    assert isinstance(events[-1], HostDone)
    assert 250 <= sum(isinstance(event, Progress) for event in events) < 2000


def test_the_reader_is_gone(tmp_path: Path) -> None:
    """So does a reader that has gone away."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command(tmp_path), stdout=writing, stderr=subprocess.PIPE, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(range(EVENTS)) == numbers((tmp_path / "events.jsonl").read_bytes().splitlines())


def test_an_output_that_does_not_block(tmp_path: Path) -> None:
    """Where somebody has made the output non-blocking, lines still come whole."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen(command(tmp_path, 900), stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        with os.fdopen(reading, "rb") as out:
            assert list(range(900)) == numbers(out.read().splitlines())
        assert process.wait(60) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk(tmp_path: Path) -> None:
    """A disk without room for the events keeps none of them from going out."""
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    done = subprocess.run(command(tmp_path, 300), capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(range(300)) == numbers(done.stdout.splitlines())
