"""`shardfleet append` on two hosts reached over ssh: a dataset that has grown, a host that is new.

One launch and one append are made; the tests look at what they left.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shard.records.job import Holdout
from shard.records.manifest import read_manifest
from shard.records.shards import read_directory, read_shard
from tests.support.fleet import DATASET, SHARDFLEET, Fleet, running_fleet
from tests.support.jobs import files_units, make_job
from tests.support.plans import tree_of
from tests.support.worker import write_all

pytestmark = pytest.mark.ssh

OLD, UNITS = 10, 24


@dataclass(frozen=True)
class Appended:
    """A fleet, what was there before the append, and the append."""

    fleet: Fleet
    before: dict[Path, tuple[int, int]]
    """Path → inode and time of everything committed."""
    done: "subprocess.CompletedProcess[str]"

    def shards(self, split: str) -> dict[str, bytes]:
        """Payload and index of every unit, over all hosts."""
        found: dict[str, bytes] = {}
        for name, directory in self.fleet.directories():
            if name == split:
                tree = tree_of(directory)
                files = {name: data for name, data in tree.items() if name.endswith((".bin", ".idx"))}
                assert not found.keys() & files.keys()
                found |= files
        return found


def append_argv(fleet: Fleet, *args: str) -> list[str]:
    """`shardfleet append` with the fleet's directories, and no option that the shards know."""
    kept = [*fleet.options]
    directories = {}
    for name in ("--output-dir", "--tokenizer", "--holdout-rate"):
        place = kept.index(name)
        directories[name] = kept[place + 1]
        del kept[place : place + 2]
    return [SHARDFLEET, "append", directories["--output-dir"], *kept, *args]


@pytest.fixture(scope="module")
def appended(tmp_path_factory: pytest.TempPathFactory, hub_directory: Path) -> Iterator[Appended]:
    """`alpha` has ten files, then both hosts the others."""
    root = tmp_path_factory.mktemp("append")
    with running_fleet(root, hub_directory, {"alpha": 1, "beta": 1}) as fleet:
        hosts = fleet.directory / "hosts.txt"
        both = hosts.read_text()
        hosts.write_text(both.splitlines()[0] + "\n")
        launched = fleet.launch("--plain", "--include", "part-?.parquet")
        assert launched.returncode == 0, launched.stdout + launched.stderr
        before = {
            path: (path.stat().st_ino, path.stat().st_mtime_ns)
            for _, directory in fleet.directories()
            for path in directory.glob("[0-9]*")
        }
        hosts.write_text(both)
        done = fleet.run(*append_argv(fleet, "--json"), timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        yield Appended(fleet, before, done)


def test_what_was_there_is_not_touched(appended: Appended) -> None:
    """Committed shards keep inode and time; new ones are numbered behind them, on both hosts."""
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in appended.before} == appended.before
    by_host = {
        host: sorted(
            int(path.stem) for path in (appended.fleet.homes[host] / appended.fleet.base / "shards").glob("[0-9]*.json")
        )
        for host in ("alpha", "beta")
    }
    assert by_host["alpha"][:OLD] == list(range(OLD)) and len(by_host["alpha"]) > OLD
    assert by_host["beta"] and by_host["beta"][0] >= OLD
    assert sorted(by_host["alpha"] + by_host["beta"]) == list(range(UNITS))


def test_bytes_are_those_of_one_run(appended: Appended, hub_directory: Path, tmp_path: Path) -> None:
    """Payloads and indexes over both hosts equal those of one process over old files, then new ones."""
    units = {unit.path: unit for unit in files_units(hub_directory / DATASET)}
    old = sorted(path for path in units if len(path) == len("part-0.parquet"))
    order = [*old, *sorted(units.keys() - set(old))]
    listed = [type(units[path])(ordinal=n, path=path, size=units[path].size, content_id=units[path].content_id)
              for n, path in enumerate(order)]  # fmt: skip
    job = make_job(hub_directory / DATASET, tmp_path, units=listed, holdout=Holdout(rate=0.02))
    write_all(job)
    for split, directory in (("train", job.output_dir), ("holdout", job.holdout_dir)):
        files = {name: data for name, data in tree_of(Path(directory)).items() if name.endswith((".bin", ".idx"))}
        assert appended.shards(split) == files and len(files) == 2 * UNITS


def test_verify_proves_all_of_it(appended: Appended) -> None:
    """By the run, over old units and new; and by one host's directories, as far as they go."""
    run = json.loads(appended.done.stdout.splitlines()[-1])["run_id"]
    verified = appended.fleet.call("verify", run, "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    coverage = json.loads(verified.stdout)["report"]["coverage"]
    assert (coverage["complete"], coverage["units"], coverage["rows"]) == (True, UNITS, 400)
    assert appended.fleet.verify_committed() == UNITS


def test_manifest_is_of_all_of_it(appended: Appended) -> None:
    """cluster.json counts what each host holds, whichever run has made it; the run's last words count its own units."""
    last = json.loads(appended.done.stdout.splitlines()[-1])
    assert (last["units"], last["units_committed"]) == (UNITS - OLD, UNITS - OLD)
    manifest = read_manifest(Path(last["manifest"]).parent)
    assert manifest.proof.complete and manifest.proof.units == UNITS
    for host in manifest.hosts:
        directory = appended.fleet.homes[host.name] / appended.fleet.base / "shards"
        records = [read_shard(directory, path.stem) for path in directory.glob("[0-9]*.json")]
        assert host.tokens == sum(record.tokens for record in records)
        assert read_manifest(directory) == manifest
        assert [one.units for one in read_directory(directory).chain] == [OLD, UNITS]


def test_the_same_append_again_does_nothing(appended: Appended) -> None:
    """It says so, exits with 0 and starts nothing."""
    before = {directory: tree_of(directory) for _, directory in appended.fleet.directories()}
    again = appended.fleet.run(*append_argv(appended.fleet))
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout == "nothing to append: all 24 files are there already\n"
    assert {directory: tree_of(directory) for directory in before} == before


def test_holdout_of_all_of_it_is_gathered(appended: Appended, tmp_path: Path) -> None:
    """gather brings the holdout of old units and new, into a directory that verifies with the shards."""
    run = json.loads(appended.done.stdout.splitlines()[-1])["run_id"]
    done = appended.fleet.call("gather", run, "--holdout", str(tmp_path / "holdout"))
    assert done.returncode == 0, done.stdout + done.stderr
    files = {name: data for name, data in tree_of(tmp_path / "holdout").items() if name.endswith((".bin", ".idx"))}
    assert files == appended.shards("holdout")
    shards = [str(appended.fleet.homes[host] / appended.fleet.base / "shards") for host in ("alpha", "beta")]
    verified = appended.fleet.call("verify", *shards, str(tmp_path / "holdout"), "--json")
    assert json.loads(verified.stdout)["report"]["coverage"]["complete"], verified.stdout


def test_other_options_are_refused(appended: Appended) -> None:
    """An option that does not fit the shards is named, and nothing is started."""
    refused = appended.fleet.run(*append_argv(appended.fleet, "--eod", "none"))
    assert refused.returncode == 2 and "eod_id: None, not 256" in refused.stderr


def test_nothing_to_append_to(appended: Appended, tmp_path: Path) -> None:
    """Directories that are nowhere yet are for launch."""
    shutil.rmtree(tmp_path / "x", ignore_errors=True)
    argv = append_argv(appended.fleet)
    argv[2] = str(tmp_path / "x")
    refused = appended.fleet.run(*argv, "--holdout-dir", str(tmp_path / "y"))
    assert refused.returncode == 2 and "use 'shardfleet launch'" in refused.stderr
