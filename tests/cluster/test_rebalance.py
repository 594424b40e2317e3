"""A host that is behind gets help: two hosts, one on a link of a tenth."""

import base64
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import DATASET, Event, Fleet, Running, count
from tests.support.hub import running_hub
from tests.support.jobs import write_corpus
from tests.support.netns import Cluster
from tests.support.netns_fleet import cluster_fleet

pytestmark = [pytest.mark.root, pytest.mark.ssh, pytest.mark.slow]

FILES = 120
FILE_BYTES = 400_000
FAST, SLOW = 12e6, 1.2e6
"""Bits per second."""
MOST = 1.3
"""Times the time that both links together would need."""


@pytest.fixture
def throttled(tmp_path: Path, cluster: Cluster) -> Iterator[Fleet]:
    """h1, and h2 at a tenth of its rate, before 48 MB that no compression makes less."""
    generator = random.Random(7)
    documents = [base64.b85encode(generator.randbytes(40_000)).decode() for _ in range(FILES * FILE_BYTES // 50_000)]
    write_corpus(tmp_path / "hub" / DATASET, documents, files=FILES, compression="none", use_dictionary=False)
    with (
        running_hub(tmp_path / "hub", host=cluster.hub_address) as hub,
        cluster_fleet(tmp_path / "fleet", cluster, hub, {"h1": 1, "h2": 1}) as fleet,
    ):
        cluster["h1"].rate(f"{FAST / 1e6:g}mbit")
        cluster["h2"].rate(f"{SLOW / 1e6:g}mbit")
        yield fleet


def finished(running: Running) -> list[Event]:
    """The events of a run that ended well."""
    assert running.wait(300) == 0, running.text
    return running.events()


def test_a_slow_host_does_not_hold_up_the_run(throttled: Fleet) -> None:
    """Units move from the slow host to the one that is done: from the first start to the last commit it takes little
    longer than both links together would need, and every unit is somewhere once."""
    events = finished(throttled.start("--plain"))
    began = min(event["time"] for event in events if event["event"] == "host_started")
    ended = max(event["time"] for event in events if event["event"] == "unit_done")
    ideal = FILES * FILE_BYTES * 8 / (FAST + SLOW)
    assert ended - began < MOST * ideal, f"{ended - began:.1f} s, ideal is {ideal:.1f} s"
    assert count(events, "units_moved", "h1") > 0
    assert len({stem for _, stem in throttled.shards()}) == FILES


def test_the_plan_can_be_kept(throttled: Fleet, cluster: Cluster) -> None:
    """With --no-rebalance every host does its own half, however long that takes."""
    cluster["h2"].rate("6mbit")
    events = finished(throttled.start("--plain", "--no-rebalance"))
    assert count(events, "units_moved") == 0
    assert count(events, "unit_done", "h2") == FILES // 2
