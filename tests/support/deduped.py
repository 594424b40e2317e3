"""Runs over documents with planted copies, on several hosts, and what `shardfleet dedup` makes of them."""

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from shard.dedup.run import deduplicate, open_pair
from shard.records.dedup import Settings
from shard.storage.store import Directories
from shard.tokenizer.raw_bytes import ByteReference
from tests.support.copies import planted
from tests.support.fleet import DATASET, SHARDFLEET, Fleet
from tests.support.jobs import write_corpus
from tests.support.plans import tree_of
from tests.support.text import real_documents

EACH = 50
"""Copies of each kind."""
DATASETS = ("--dataset", f"web={DATASET}", "--dataset", "more=team/more")


def write_copies(directory: Path) -> None:
    """Real documents with planted copies, far from each other, in 12 Parquet files of two datasets."""
    documents = planted(real_documents(300), EACH).documents
    write_corpus(directory / DATASET, documents[:200], files=5)
    write_corpus(directory / "team" / "more", documents[200:], files=7)


def once_on_one_machine(fleet: Fleet, root: Path) -> Path:
    """What one machine makes of the shards of all hosts together: `removed`, `once`, `once_holdout`."""
    for split, directory in fleet.directories():
        shutil.copytree(directory, root / split, dirs_exist_ok=True)
    pair = open_pair([root / "train", root / "holdout"])
    found = deduplicate(pair, ByteReference(), Settings(), root)
    assert len(found.duplicates.removed) > 1.5 * EACH
    finals: Directories = {"train": root / "once", "holdout": root / "once_holdout"}
    found.write(finals, 1)
    return root


def dedup_argv(fleet: Fleet, name: str, *args: str) -> list[str]:
    """`shardfleet dedup` of the fleet's run into directories of this name."""
    to = f"~/{fleet.base}/{name}"
    return [SHARDFLEET, "dedup", first_run(fleet).name, "--to", to, "--max-removed", "50%", *args]


def first_run(fleet: Fleet) -> Path:
    (run,) = (run for run in (fleet.directory / "runs").iterdir() if is_first(run))
    return run


def is_first(run: Path) -> bool:
    plan = run / "plan.json"  # not there yet of one that is being prepared
    return plan.exists() and b'"leftovers":null' in plan.read_bytes()


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


def asked(fleet: Fleet) -> list[int]:
    """Processes on the hosts that answer about signatures."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"unsigned" in words and any(first_run(fleet).name.encode() in word for word in words):
                found.append(int(path.parent.name))
    return found


def wait_for(reached: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.005)
