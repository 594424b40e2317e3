"""256 hosts on one machine: the launcher is the real one, the workers are thin; see tests.scale.simulated.

Times are guards at twice what is promised (docs say 20 s and 15 s), for machines with other work to do;
benchmarks/scale.py measures.
"""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.scale.simulated import Simulation, frames, pss

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("pdsh") is None, reason="needs pdsh: apt install pdsh"),
]

START_SECONDS = 40.0
STOP_SECONDS = 30.0
MOST_BYTES = 300e6


def test_start_display_and_abort(long_run: Simulation) -> None:
    """All hosts start, the dashboard goes on changing, and Ctrl+C leaves no process: 130, in under 300 MB all along."""
    with sampled_memory(long_run) as samples:
        running = long_run.start(terminal=True)
        long_run.wait_until_started(running, START_SECONDS)
        seen = len(frames(running.output))
        long_run.wait_until(lambda: len(frames(running.output)) >= seen + 3, 30.0, "the display stands still")
        assert len(long_run.workers()) == 256
        running.type(b"\x03")
        assert running.wait(STOP_SECONDS) == 130, running.text[-2000:]
    assert long_run.fleet.processes() == []
    assert "… and 232 more" in running.text
    assert "no process of the run is left on any host" in running.text
    largest = max(samples, key=lambda sample: sum(sample.values()))
    assert {"watch", "pdsh", "script"} <= set().union(*samples)
    assert sum(largest.values()) < MOST_BYTES, largest


def test_whole_run(short_run: Simulation) -> None:
    """256 hosts do all their units, wait for more, are let go and have their records gathered: exit code 0."""
    running = short_run.start("--json")
    assert running.wait(90.0) == 0, running.text[-2000:]
    last = json.loads(running.text.splitlines()[-1])
    assert (last["event"], last["units_committed"], last["left"], last["unproven"]) == ("run_done", 2560, {}, [])
    assert sum(host["units_done"] for host in last["hosts"].values()) == 2560
    assert {host["phase"] for host in last["hosts"].values()} <= {"complete", "idle"}
    assert short_run.fleet.processes() == []


@contextmanager
def sampled_memory(simulation: Simulation) -> Iterator[list[dict[str, int]]]:
    """What the launcher's processes take, looked at all the time until the block ends."""
    samples: list[dict[str, int]] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.2):
            samples.append(pss(simulation.launcher()))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()
