"""Three hosts of namespaces, a Hub they reach, and a fleet over both; see tests.support.netns and .fleet.

The hosts stand for the whole session; every test that takes `cluster` gets them as new.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import DATASET, Fleet, Shards, running_fleet
from tests.support.hub import RunningHub, running_hub
from tests.support.jobs import write_corpus
from tests.support.netns import Cluster, running_cluster
from tests.support.netns_fleet import cluster_fleet
from tests.support.netns_tools import UnavailableError, require


@pytest.fixture(scope="session")
def three_hosts() -> Iterator[Cluster]:
    """h1, h2 and h3, as the tests before left them: take `cluster` instead, unless nothing is changed."""
    try:
        require()
    except UnavailableError as error:
        pytest.skip(str(error))
    with running_cluster(3) as cluster:
        yield cluster


@pytest.fixture
def cluster(three_hosts: Cluster) -> Iterator[Cluster]:
    """h1, h2 and h3, up, with nothing running on them, cables in, no limits, homes empty."""
    three_hosts.reset()
    yield three_hosts
    # A test that failed may have left what would take the next one's processors.
    three_hosts.reset()


@pytest.fixture(scope="session")
def hub_directory(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """400 real documents in 24 Parquet files, each one unit that takes two requests, as a Hub serves them."""
    directory = tmp_path_factory.mktemp("hub")
    write_corpus(directory / DATASET, documents, files=24)
    return directory


@pytest.fixture(scope="session")
def standing_hub(three_hosts: Cluster, hub_directory: Path) -> Iterator[RunningHub]:
    """A Hub over `hub_directory` at an address of its own on the hosts' network."""
    with running_hub(hub_directory, host=three_hosts.hub_address) as hub:
        yield hub


@pytest.fixture
def cluster_hub(standing_hub: RunningHub) -> Iterator[RunningHub]:
    """The same without faults."""
    standing_hub.clear()
    yield standing_hub
    standing_hub.clear()


@pytest.fixture
def host_fleet(tmp_path: Path, cluster: Cluster, cluster_hub: RunningHub) -> Iterator[Fleet]:
    """h1, h2 and h3 with two ranks each."""
    with cluster_fleet(tmp_path, cluster, cluster_hub, dict.fromkeys(cluster.names, 2)) as fleet:
        yield fleet


@pytest.fixture
def lean_fleet(tmp_path: Path, cluster: Cluster, cluster_hub: RunningHub) -> Iterator[Fleet]:
    """h1, h2 and h3 with one rank each."""
    with cluster_fleet(tmp_path, cluster, cluster_hub, dict.fromkeys(cluster.names, 1)) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, hub_directory: Path) -> Shards:
    """What one rank on this machine makes of the same dataset, with nothing in its way."""
    with running_fleet(tmp_path_factory.mktemp("undisturbed"), hub_directory, {"localhost": 1}) as alone:
        launched = alone.launch()
        assert launched.returncode == 0, launched.stdout + launched.stderr
        return alone.shards()
