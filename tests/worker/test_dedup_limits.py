"""shard/dedup where space runs out, and where Ctrl+C comes while DuckDB is at work."""

import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT

import numpy as np
import pytest
from numpy.typing import NDArray

from shard.dedup.find import find_duplicates
from shard.dedup.pairs import KeyStore
from shard.dedup.parts import Take
from shard.errors import DiskFullError
from shard.records.dedup import Scheme, Settings
from tests.support import disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    with disks.small_disk(tmp_path / "disk", "6m") as mount:
        yield mount


@dataclass(frozen=True)
class Alike:
    """A part whose documents differ in their text, and share all bands."""

    documents: int
    source: str = ""

    def exact(self) -> NDArray[np.uint64]:
        return np.arange(2 * self.documents, dtype=np.uint64).reshape(-1, 2)

    def banded(self) -> NDArray[np.uint64]:
        return np.ones((self.documents, 1), dtype=np.uint64)


@pytest.mark.root
def test_no_room_for_keys(small_disk: Path) -> None:
    """A full disk under DuckDB is an error that names the directory and says what to do, and leaves nothing there."""
    random = np.random.default_rng(0)
    with pytest.raises(DiskFullError, match=f"{small_disk}: no space for keys"):  # noqa: SIM117
        with KeyStore(small_disk, 8) as keyed:
            for first in range(0, 1_000_000, 10_000):
                keyed.add_exact(first, random.integers(1 << 63, size=(10_000, 2), dtype=np.uint64))
    assert list(small_disk.iterdir()) == []


@pytest.mark.root
def test_no_room_for_signatures(small_disk: Path) -> None:
    """Where signatures of the documents that meet do not fit, that is said before any is fetched."""
    settings = Settings(scheme=Scheme(num_perm=1024), bands=1, rows=8)

    def fetch(wanted: Mapping[int, NDArray[np.int64]], take: Take) -> None:
        for number, positions in wanted.items():
            take(number, bytes(4 * 1024 * len(positions)))

    assert len(find_duplicates([Alike(100)], settings, small_disk, fetch).removed) == 99
    with pytest.raises(DiskFullError, match=f"{small_disk}: No space left"):
        find_duplicates([Alike(3000)], settings, small_disk, fetch)


def test_ctrl_c_ends_a_query(tmp_path: Path) -> None:
    """Ctrl+C while DuckDB sorts is Ctrl+C, no error of DuckDB's, and nothing stays behind."""
    random = np.random.default_rng(0)
    with pytest.raises(KeyboardInterrupt), KeyStore(tmp_path, 1) as keyed:
        for first in range(0, 8_000_000, 1_000_000):
            keyed.add_exact(first, random.integers(1 << 63, size=(1_000_000, 2), dtype=np.uint64))
        threading.Timer(0.1, lambda: os.kill(os.getpid(), SIGINT)).start()
        keyed.equal()
    assert list(tmp_path.iterdir()) == []
