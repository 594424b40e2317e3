"""`shardfleet dedup RUN` of a run that appended: all that is there, of every run, on hosts as on one machine."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shard.dedup.run import deduplicate, open_pair
from shard.records.dedup import Settings
from shard.storage.store import Directories
from shard.tokenizer.raw_bytes import ByteReference
from tests.support.copies import planted
from tests.support.fleet import DATASET, SHARDFLEET, Fleet, running_fleet
from tests.support.jobs import write_corpus
from tests.support.plans import tree_of
from tests.support.text import real_documents

pytestmark = pytest.mark.ssh

EACH = 15


@dataclass(frozen=True)
class Appended:
    """A fleet with a signed run on one host, and an append on two, without signatures, of files of the same names."""

    fleet: Fleet
    first: str
    """Run ids."""
    last: str

    def call(self, run: str, *args: str) -> list[str]:
        return [SHARDFLEET, "dedup", run, "--to", f"~/{self.fleet.base}/once", "--max-removed", "50%", *args]


def append(fleet: Fleet) -> tuple[int, str]:
    """Append the other dataset. Returns exit code and output."""
    kept = [*fleet.options]
    for name in ("--output-dir", "--tokenizer", "--holdout-rate", "--dataset"):
        place = kept.index(name)
        del kept[place : place + 2]
    argv = [SHARDFLEET, "append", f"~/{fleet.base}/shards", *kept, "--dataset", "team/more", "--json"]
    done = fleet.run(*argv, timeout=120)
    return done.returncode, done.stdout or done.stderr


@pytest.fixture(scope="module")
def appended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appended]:
    root = tmp_path_factory.mktemp("dedup-appended")
    documents = planted(real_documents(100), EACH).documents
    write_corpus(root / "hub" / DATASET, documents[:60], files=3)
    write_corpus(root / "hub" / "team" / "more", documents[60:], files=4)
    with running_fleet(root / "fleet", root / "hub", {"alpha": 2, "beta": 1}) as fleet:
        hosts = fleet.directory / "hosts.txt"
        both = hosts.read_text()
        hosts.write_text("alpha 1\n")
        launched = fleet.launch("--plain", "--signatures")
        assert launched.returncode == 0, launched.stdout + launched.stderr
        first = fleet.run_id
        hosts.write_text(both)
        code, said = append(fleet)
        assert code == 0, said
        yield Appended(fleet, first, json.loads(said.splitlines()[-1])["run_id"])


def test_the_first_run_names_the_last(appended: Appended) -> None:
    """Of the run that was appended to nothing is written: it names the one that is to be given."""
    refused = appended.fleet.run(*appended.call(appended.first))
    assert refused.returncode == 2 and f"/runs/{appended.last}" in refused.stderr, refused.stderr


def test_as_on_one_machine(appended: Appended, tmp_path: Path) -> None:
    """Signatures that are lacking are made; lists, payloads, indexes and dataset.json are those of one machine that has
    all shards, and every row of all runs is accounted for."""
    fleet = appended.fleet
    done = fleet.run(*appended.call(appended.last, "--plain"), timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 7 units have no signatures" in done.stderr
    for split, directory in fleet.directories():
        shutil.copytree(directory, tmp_path / split, dirs_exist_ok=True)
    found = deduplicate(open_pair([tmp_path / "train", tmp_path / "holdout"]), ByteReference(), Settings(), tmp_path)
    assert len(found.duplicates.removed) > 1.5 * EACH
    finals: Directories = {"train": tmp_path / "once", "holdout": tmp_path / "once_holdout"}
    found.write(finals, 1)
    (lists,) = (fleet.directory / "runs").glob("*/dedup-*/removed")
    assert tree_of(lists) == tree_of(tmp_path / "removed")
    for directory in finals.values():
        files = [tree_of(home / fleet.base / directory.name) for home in fleet.homes.values()]
        made = {name: data for tree in files for name, data in tree.items() if of_shards(name)}
        assert made == {name: data for name, data in tree_of(directory).items() if of_shards(name)}
        assert all(len(tree) > 4 for tree in files)
    (run,) = {run.name for run in (fleet.directory / "runs").iterdir()} - {appended.first, appended.last}
    for name, said in ((run, f"{len(found.duplicates.removed)} dropped"), (appended.last, "7 of 7 units")):
        verified = fleet.call("verify", name)
        assert verified.returncode == 0 and said in verified.stdout, verified.stdout + verified.stderr


def test_old_units_are_signed(appended: Appended) -> None:
    """By another scheme all units are, those of earlier runs as well; the append goes on as before: nothing to do."""
    again = appended.fleet.run(*appended.call(appended.last, "--dry-run", "--seed", "7"), timeout=120)
    assert again.returncode == 0 and "7 of 7 units have no signatures" in again.stderr, again.stderr
    verified = appended.fleet.call("verify", appended.last)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert append(appended.fleet) == (0, "nothing to append: all 4 files are there already\n")


def of_shards(name: str) -> bool:
    return name.endswith((".bin", ".idx", "dataset.json"))
