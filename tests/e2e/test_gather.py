"""The end of a run on two hosts reached over ssh: the cluster manifest, the gathered holdout, copies, a lost host.

One run is made; the tests look at what it left, in their order: the last ones do without a host.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shard.records.manifest import MANIFEST_FILE, Manifest, equal_samples, read_manifest
from tests.support.fleet import Fleet, running_fleet
from tests.support.plans import tree_of

pytestmark = pytest.mark.ssh

UNITS = 24


@dataclass(frozen=True)
class Ended:
    """A fleet and its run."""

    fleet: Fleet
    done: "subprocess.CompletedProcess[str]"
    gathered: Path
    """Where the run has brought the holdout."""

    @property
    def run(self) -> Path:
        return self.fleet.directory / "runs" / self.fleet.run_id

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.run)

    def directory(self, host: str, name: str) -> Path:
        return self.fleet.homes[host] / self.fleet.base / name

    def records(self, host: str, name: str) -> dict[int, dict[str, Any]]:
        """The records of one directory by unit."""
        paths = self.directory(host, name).glob("[0-9]*.json")
        return {int(path.stem): json.loads(path.read_bytes()) for path in paths}

    def copy(self, unit: int, source: str, target: str) -> None:
        """Have a second host commit a unit as well."""
        for name in ("shards", "holdout"):
            for file in self.directory(source, name).glob(f"{unit:06d}.*"):
                shutil.copy(file, self.directory(target, name))

    def require_complete(self) -> None:
        verified = self.fleet.call("verify", str(self.run))
        assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, hub_directory: Path) -> Iterator[Ended]:
    root = tmp_path_factory.mktemp("gather")
    gathered = root / "gathered holdout"
    with running_fleet(root, hub_directory, {"alpha": 2, "beta": 1}) as fleet:
        done = fleet.launch("--json", "--gather-holdout", str(gathered))
        assert done.returncode == 0, done.stdout + done.stderr
        yield Ended(fleet, done, gathered)


def test_manifest_is_the_same_everywhere(ended: Ended) -> None:
    """The launcher and both directories of both hosts have one file, byte for byte, and --json says where."""
    data = (ended.run / MANIFEST_FILE).read_bytes()
    copies = [
        ended.directory(host, name) / MANIFEST_FILE for host in ("alpha", "beta") for name in ("shards", "holdout")
    ]
    assert [copy.read_bytes() for copy in copies] == [data] * 4
    last = json.loads(ended.done.stdout.splitlines()[-1])
    assert last["manifest"] == str(ended.run / MANIFEST_FILE)


def test_manifest_adds_up(ended: Ended) -> None:
    """Its figures are sums over the records on the hosts, and its units are what lies there."""
    found = ended.manifest
    for host in found.hosts:
        train, holdout = ended.records(host.name, "shards"), ended.records(host.name, "holdout")
        assert [unit for start, end in host.units for unit in range(start, end)] == sorted(train)
        assert (host.documents, host.tokens) == tuple(_sum(train, field) for field in ("documents", "tokens"))
        assert (host.holdout_documents, host.holdout_tokens) == tuple(
            _sum(holdout, field) for field in ("documents", "tokens")
        )
        assert host.known == "records" and host.store == host.name
    assert found.documents + found.holdout_documents + found.proof.dropped == found.proof.rows == 400
    assert (found.proof.proven, found.proof.complete, found.proof.missing) == (UNITS, True, ())
    assert found.proof.shards_sha256 is not None
    assert found.tokens_per_rank == min(host.tokens // host.ranks for host in found.hosts)
    assert found.world_size == 3
    each = equal_samples(found, 128)
    assert 0 < each * 128 * 2 < min(host.tokens / host.ranks for host in found.hosts) * 2


def _sum(records: dict[int, dict[str, Any]], field: str) -> int:
    return sum(record[field] for record in records.values())


def test_holdout_is_one_directory(ended: Ended) -> None:
    """What the run brought is the union of the hosts' holdout files, and verifies with their train shards."""
    union = {**tree_of(ended.directory("alpha", "holdout")), **tree_of(ended.directory("beta", "holdout"))}
    wanted = {name: data for name, data in union.items() if name[0].isdigit() or name == "dataset.json"}
    assert tree_of(ended.gathered) == wanted
    assert len(wanted) == 3 * UNITS + 1
    shards = [str(ended.directory(host, "shards")) for host in ("alpha", "beta")]
    verified = ended.fleet.call("verify", *shards, str(ended.gathered), "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert json.loads(verified.stdout)["report"]["coverage"]["complete"]


def test_second_copies_go(ended: Ended) -> None:
    """A unit that a host has beside the one that the ledger names is removed there; nothing else changes."""
    data = (ended.run / MANIFEST_FILE).read_bytes()
    before = {host: tree_of(ended.directory(host, "shards")) for host in ("alpha", "beta")}
    unit = min(ended.records("beta", "shards"))
    ended.copy(unit, "beta", "alpha")
    assert ended.fleet.call("verify", str(ended.run)).returncode == 1
    done = ended.fleet.call("gather", str(ended.run), "--holdout", str(ended.gathered))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"alpha: units {unit} are also on beta, which keeps them; alpha has removed its own" in done.stderr
    assert "0.0 MB of it brought now" in done.stdout
    assert {host: _shards(tree_of(ended.directory(host, "shards"))) for host in before} == {
        host: _shards(files) for host, files in before.items()
    }
    assert (ended.run / MANIFEST_FILE).read_bytes() == data
    ended.require_complete()


def test_settling_removes_second_copies(ended: Ended) -> None:
    """Another start of the run's script ends with every unit once, and says what it has removed."""
    unit = min(ended.records("alpha", "shards"))
    ended.copy(unit, "alpha", "beta")
    again = ended.fleet.run("./run_all_hosts.sh", "--json", timeout=120)
    assert again.returncode == 0, again.stdout + again.stderr
    notes = json.loads(again.stdout.splitlines()[-1])["notes"]
    assert any(f"beta: units {unit} are also on alpha" in note for note in notes)
    assert unit not in ended.records("beta", "shards") and unit not in ended.records("beta", "holdout")
    ended.require_complete()


def _shards(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name[0].isdigit()}


def test_ledger_stands_in_for_a_lost_host(ended: Ended) -> None:
    """With a host gone, verify fails unless the ledger may speak for it; then the union is proven complete."""
    assert ended.fleet.loopback is not None
    units = len(ended.records("beta", "shards"))
    ended.fleet.loopback.stop("beta")
    without = ended.fleet.call("verify", str(ended.run))
    assert without.returncode == 1
    assert f"its {units} units are known by the ledger only" in " ".join(without.stdout.split())
    found = ended.fleet.call("verify", str(ended.run), "--ledger")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "warning: beta: " in found.stdout and "verified: complete, by bytes and ledger" in found.stdout
    answer = json.loads(ended.fleet.call("verify", str(ended.run), "--ledger", "--json").stdout)
    assert answer["by_ledger"]["beta"]["units"] == units
    assert (answer["exit_code"], answer["problems"]) == (0, [])
    assert answer["report"]["coverage"]["complete"]


def test_lost_host_is_named_at_the_end(ended: Ended) -> None:
    """Every unit is committed, yet nobody knows what runs on a host that is gone: exit code 3, and what it will do."""
    assert ended.fleet.loopback is not None
    ended.fleet.loopback.stop("beta")
    argv = [sys.executable, "-m", "provision.control", "settle", str(ended.run), "--interrupts", "0", "--plain"]
    settled = ended.fleet.run(*argv)
    said = " ".join(settled.stdout.split())
    assert settled.returncode == 3, settled.stdout + settled.stderr
    assert (
        "every unit is committed without the word of beta, which stops itself when its lease of 900 s runs out" in said
    )
    assert "NOT shown to be quiet: beta." in said
    found = ended.manifest
    assert [(host.name, host.known) for host in found.hosts] == [("alpha", "records"), ("beta", "ledger")]
    assert found.proof.complete and found.proof.shards_sha256 is None


def test_directories_have_no_ledger(ended: Ended) -> None:
    """--ledger is refused for directories, whose verification asks nobody."""
    shards = str(ended.directory("alpha", "shards"))
    refused = ended.fleet.call("verify", shards, "--ledger")
    assert refused.returncode == 2 and "--ledger is for a run" in refused.stderr
