"""Clusters as large as one machine can play; see tests.scale.simulated."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scale.simulated import Simulation, simulated


@pytest.fixture
def long_run(tmp_path: Path) -> Iterator[Simulation]:
    """256 hosts and 50,000 source files, at a pace that takes minutes."""
    with simulated(tmp_path, hosts=256, files=50_000) as simulation:
        yield simulation


@pytest.fixture
def short_run(tmp_path: Path) -> Iterator[Simulation]:
    """256 hosts and 2,560 source files: two turns of work for each."""
    with simulated(tmp_path, hosts=256, files=2_560, units_per_turn=5) as simulation:
        yield simulation
