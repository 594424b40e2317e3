"""Reading over a line with a delay, a rate and loss, made by tests/support/delaylink.py."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.delaylink import FAR_ADDRESS, Link, Shape, delay_link
from tests.support.jobs import write_corpus
from tests.support.netns_tools import UnavailableError

RATE = 5e6
ROUND_TRIP = 0.040

_SERVER = """
import sys
from pathlib import Path
from provision.hubserver.serve import serve
serve(Path(sys.argv[1]), sys.argv[2], 8000, faults=True, on_ready=lambda endpoint: print(endpoint, flush=True))
"""
_READER = """
import json, socket, sys, time
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from shard.records.options import Options
from shard.source.download import Scratch
from shard.source.intake import Intake
from shard.source.opened import open_unit
from tests.support.jobs import hub_dataset, hub_units
from tests.support.batches import documents_of
dataset = hub_dataset(sys.argv[1], "some-owner/text")
units, found, locations = hub_units(dataset), [], {}
began = time.monotonic()
socket.create_connection((sys.argv[2], 8000)).close()
connected = time.monotonic() - began
began = time.monotonic()
with closing(Intake(Options())) as intake:
    for unit, then in zip_longest(units, units[1:]):
        with open_unit(dataset, unit, Options(), Scratch(Path("/nowhere")), locations, intake, then) as opened:
            found += [document.decode() for batch in opened.texts for document in documents_of(batch)]
seconds = time.monotonic() - began
print(json.dumps({"documents": found, "seconds": seconds, "connected": connected}))
"""


@pytest.fixture(scope="module")
def line() -> Iterator[Link]:
    try:
        with delay_link(Shape(RATE * 8, ROUND_TRIP, 0.005)) as link:
            yield link
    except UnavailableError as error:
        pytest.skip(str(error))


def test_a_long_lossy_line(line: Link, tmp_path: Path, documents: list[str]) -> None:
    """Over a line of 5 MB/s and 40 ms that loses packets every document arrives, and no sooner than it can."""
    rows = documents * (1 + 6_000_000 // sum(len(document) for document in documents))
    write_corpus(tmp_path / "some-owner/text", rows, files=3, compression="none", use_dictionary=False)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    server = subprocess.Popen(
        line.far_argv(sys.executable, "-c", _SERVER, str(tmp_path), FAR_ADDRESS), stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        endpoint = server.stdout.readline().strip()
        done = subprocess.run(
            line.near_argv(sys.executable, "-c", _READER, endpoint, FAR_ADDRESS), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    finally:
        server.kill()
        server.communicate()
    found: dict[str, Any] = json.loads(done.stdout)
    assert rows == found["documents"]
    assert found["connected"] >= ROUND_TRIP
    assert found["seconds"] >= 0.95 * size / RATE
