"""Fleets ready for a test; see tests.support.fleet."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deduped import write_copies
from tests.support.fleet import DATASET, Fleet, running_fleet
from tests.support.jobs import write_corpus


@pytest.fixture(scope="session")
def hub_directory(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """400 real documents in 24 Parquet files, each one unit that takes two requests, as a Hub serves them."""
    directory = tmp_path_factory.mktemp("hub")
    write_corpus(directory / DATASET, documents, files=24)
    return directory


@pytest.fixture(scope="session")
def copies_hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See tests.support.deduped.write_copies."""
    directory = tmp_path_factory.mktemp("copies-hub")
    write_copies(directory)
    return directory


@pytest.fixture
def ssh_fleet(tmp_path: Path, hub_directory: Path) -> Iterator[Fleet]:
    """Two hosts reached over ssh, two ranks each."""
    with running_fleet(tmp_path, hub_directory, {"alpha": 2, "beta": 2}) as fleet:
        yield fleet


@pytest.fixture
def pair_fleet(tmp_path: Path, hub_directory: Path) -> Iterator[Fleet]:
    """Two hosts reached over ssh, one rank each."""
    with running_fleet(tmp_path, hub_directory, {"alpha": 1, "beta": 1}) as fleet:
        yield fleet


@pytest.fixture
def local_fleet(tmp_path: Path, hub_directory: Path) -> Iterator[Fleet]:
    """This machine through pdsh, two ranks."""
    with running_fleet(tmp_path, hub_directory, {"localhost": 2}) as fleet:
        yield fleet


@pytest.fixture
def bare_fleet(tmp_path: Path, hub_directory: Path) -> Iterator[Fleet]:
    """This machine without pdsh, two ranks."""
    with running_fleet(tmp_path, hub_directory, {"localhost": 2}, pdsh=False) as fleet:
        yield fleet
