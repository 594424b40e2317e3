"""shard/source/bandwidth.py, with processes as ranks are."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from shard.records.progress import UnitDone
from shard.source.bandwidth import SharedRate
from tests.support.hub import running_hub
from tests.support.jobs import QUICK, hub_dataset, make_job, write_corpus, write_job
from tests.support.supervisors import supervising

_TAKER = """
import sys, time
from pathlib import Path
from shard.source.bandwidth import SharedRate
rate = SharedRate(Path(sys.argv[1]), float(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    rate.take(10_000)
print(time.monotonic(), flush=True)
"""


def takers(path: Path, rate: float, shares: list[int]) -> list[float]:
    """Processes that take shares of 10,000 bytes each. Returns the seconds that each took."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _TAKER, str(path), str(rate), str(share)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for share in shares
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [float(process.communicate()[0]) - began for process in processes]


def test_processes_share_one_rate(tmp_path: Path) -> None:
    """Three processes together take no more than the limit."""
    ends = takers(tmp_path / "clock", 2e6, [100, 100, 100])
    assert 3e6 / max(ends) <= 1.1 * 2e6


def test_who_is_done_leaves_the_rate_to_the_others(tmp_path: Path) -> None:
    """A process that takes little does not keep its share from the one that takes much."""
    ends = takers(tmp_path / "clock", 2e6, [10, 250])
    assert ends[0] < ends[1] / 2
    assert 2.6e6 / max(ends) <= 1.1 * 2e6


def test_threads_share_it_too(tmp_path: Path) -> None:
    """Threads of one process wait for each other as processes do."""
    rate = SharedRate(tmp_path / "clock", 2e6)
    began = time.monotonic()
    threads = [threading.Thread(target=lambda: [rate.take(10_000) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2e6 / (time.monotonic() - began) <= 1.1 * 2e6
    rate.close()


@pytest.mark.parametrize("content", [b"\xff" * 7 + b"\x7f", b"", b"abc", b"\0" * 8], ids=["far", "empty", "cut", "old"])
def test_a_clock_of_another_start(content: bytes, tmp_path: Path) -> None:
    """Whatever an earlier start, or one before a reboot, has left in the file, nobody waits for it."""
    (tmp_path / "clock").write_bytes(content)
    rate = SharedRate(tmp_path / "clock", 1e6)
    began = time.monotonic()
    for _ in range(10):
        rate.take(10_000)
    assert time.monotonic() - began < 30.0
    rate.close()


LIMIT = 2_000_000


def test_the_ranks_of_a_host_keep_to_the_limit(tmp_path: Path, documents: list[str]) -> None:
    """Two ranks that stream from a Hub take in together what --max-bandwidth allows, and no more."""
    # Text that does not shrink, so that what is fetched takes seconds at the limit.
    size = sum(len(document) for document in documents)
    rows = [f"{turn} {document}" for turn in range(1 + 8_000_000 // size) for document in documents]
    write_corpus(tmp_path / "hub/some-owner/text", rows, files=6, compression="none")
    with running_hub(tmp_path / "hub") as hub:
        options = replace(QUICK, max_bandwidth=LIMIT)
        job = make_job(hub_dataset(hub.endpoint, "some-owner/text"), tmp_path / "out", options=options, ranks=2)
        began = time.monotonic()
        with supervising(write_job(job, tmp_path)) as supervisor:
            supervisor.wait_for(lambda: len(supervisor.of(UnitDone)) == len(job.units))
            seconds = time.monotonic() - began
        sent = hub.stats()["cdn_bytes"]
    assert sent > 3 * LIMIT
    # Start and last commits are in it: the least only says that it is bytes, and not bits.
    assert 0.15 * LIMIT <= sent / seconds <= 1.1 * LIMIT
