"""`shardfleet dedup RUN`: duplicates among the shards of several hosts, found here and left out there."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shard.dedup.run import deduplicate, open_pair
from shard.dedup.settings import Settings
from shard.store import Directories
from shard.tokenizer.raw_bytes import ByteReference
from tests.support.copies import planted
from tests.support.fleet import DATASET, SHARDFLEET, Fleet, running_fleet
from tests.support.jobs import write_corpus
from tests.support.plans import tree_of
from tests.support.text import real_documents

pytestmark = pytest.mark.ssh

EACH = 50


@pytest.fixture(scope="module")
def copies_hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real documents with planted copies, far from each other, in 12 Parquet files."""
    directory = tmp_path_factory.mktemp("copies-hub")
    write_corpus(directory / DATASET, planted(real_documents(300), EACH).documents, files=12)
    return directory


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, copies_hub: Path) -> Iterator[Fleet]:
    """Two hosts whose run is complete, with signatures."""
    with running_fleet(tmp_path_factory.mktemp("dedup"), copies_hub, {"alpha": 2, "beta": 1}) as fleet:
        done = fleet.launch("--plain", "--signatures")
        assert done.returncode == 0, done.stdout + done.stderr
        yield fleet


@pytest.fixture(scope="module")
def expected(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What deduplication on one machine makes of all shards together: `removed`, `once`, `once_holdout`."""
    root = tmp_path_factory.mktemp("expected")
    for split, directory in fleet.directories():
        shutil.copytree(directory, root / split, dirs_exist_ok=True)
    pair = open_pair([root / "train", root / "holdout"])
    found = deduplicate(pair, ByteReference(), Settings(), root)
    assert len(found.duplicates.removed) > 1.5 * EACH
    finals: Directories = {"train": root / "once", "holdout": root / "once_holdout"}
    found.write(finals, 1)
    return root


def call(fleet: Fleet, name: str, *args: str) -> list[str]:
    """`shardfleet dedup` of the fleet's run into directories of this name."""
    (run,) = (run for run in (fleet.directory / "runs").iterdir() if any(run.glob("tokenizer")) and is_first(run))
    to = f"~/{fleet.base}/{name}"
    return [SHARDFLEET, "dedup", run.name, "--to", to, "--max-removed", "50%", *args]


def is_first(run: Path) -> bool:
    return b'"leftovers":null' in (run / "plan.json").read_bytes()


def made(fleet: Fleet, name: str) -> dict[str, bytes]:
    """Payloads, indexes and dataset.json of all hosts, by split and name."""
    found: dict[str, bytes] = {}
    for home in fleet.homes.values():
        for split, directory in (("train", name), ("holdout", f"{name}_holdout")):
            for file, data in tree_of(home / fleet.base / directory).items():
                if file.endswith((".bin", ".idx", "dataset.json")):
                    assert file == "dataset.json" or f"{split}/{file}" not in found
                    found[f"{split}/{file}"] = data
    return found


def wanted(expected: Path) -> dict[str, bytes]:
    return {
        f"{split}/{file}": data
        for split, directory in (("train", "once"), ("holdout", "once_holdout"))
        for file, data in tree_of(expected / directory).items()
        if file.endswith((".bin", ".idx", "dataset.json"))
    }


def lists(fleet: Fleet) -> dict[str, bytes]:
    (removed,) = (fleet.directory / "runs").glob("*/dedup-*/removed")
    return tree_of(removed)


def test_as_on_one_machine(fleet: Fleet, expected: Path) -> None:
    """Removal lists, payloads, indexes and fingerprint are those of one machine that has all shards; the estimate comes
    first, and every row of the dataset is accounted for."""
    done = fleet.run(*call(fleet, "once", "--plain"), timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stderr.split())
    assert "8 bands of 8 rows" in said and " documents would go, " in said
    assert lists(fleet) == tree_of(expected / "removed")
    assert made(fleet, "once") == wanted(expected)
    (run,) = (run for run in (fleet.directory / "runs").iterdir() if not is_first(run))
    checked = fleet.call("verify", str(run))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert all(any((home / fleet.base / "once").glob("*.bin")) for home in fleet.homes.values())
