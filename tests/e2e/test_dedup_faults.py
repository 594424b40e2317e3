"""`shardfleet dedup RUN` where something breaks on the way: the same bytes in the end, nothing counted twice, and an
error that says what to do where it cannot go on."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from shard.dedup.run import deduplicate, open_pair
from shard.records.dedup import Scheme, Settings
from shard.records.job import Holdout
from shard.tokenizer.raw_bytes import ByteReference
from tests.support.deduped import (
    DATASETS,
    EACH,
    dedup_argv,
    first_run,
    is_first,
    lists,
    made,
    once_on_one_machine,
    wait_for,
)
from tests.support.deduped import wanted as wanted_of
from tests.support.disks import small_disk
from tests.support.fleet import DATASET, Fleet, Running, count, running_fleet
from tests.support.holds import held
from tests.support.jobs import make_job
from tests.support.plans import tree_of
from tests.support.worker import write_all

pytestmark = pytest.mark.ssh

UNITS = 12
DOCUMENTS = 300 + 3 * EACH


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, copies_hub: Path) -> Iterator[Fleet]:
    """Two hosts whose run is complete, with signatures; on each a rank was killed while it signed."""
    with running_fleet(tmp_path_factory.mktemp("faults"), copies_hub, {"alpha": 2, "beta": 1}) as fleet:
        fleet.slow(0.3)
        running = fleet.start("--json", "--signatures", *DATASETS)
        for host in fleet.homes:
            strike(fleet, host, "shards", "sig")
        fleet.fast()
        assert running.wait(120) == 0, running.text
        assert count(running.events(), "rank_exited") == 2
        require_once(running)
        yield fleet


@pytest.fixture(scope="module")
def expected(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one machine makes of all shards together: `removed`, `once`, `once_holdout`."""
    return once_on_one_machine(fleet, tmp_path_factory.mktemp("expected"))


def strike(fleet: Fleet, host: str, directory: str, suffix: str) -> None:
    """Kill the rank that is first seen to write such a file there: it has its process id in its temporary name."""
    place = fleet.homes[host] / fleet.base / directory
    found: list[Path] = []

    def seen() -> bool:
        found.extend(place.glob(f".0*.{suffix}.*.tmp"))
        return bool(found)

    wait_for(seen)
    os.kill(int(found[0].name.split(".")[-2]), signal.SIGKILL)


def require_once(running: Running) -> None:
    """Every unit is done once and every document counted once, by the events and by what the run says at its end."""
    done = json.loads(running.text.splitlines()[-1])
    assert (done["event"], done["exit_code"], done["units_committed"]) == ("run_done", 0, UNITS)
    assert done["documents"] + done["holdout_documents"] + done["dropped"] == DOCUMENTS
    assert sorted(event["unit"] for event in running.events() if event["event"] == "unit_done") == list(range(UNITS))


def signatures(fleet: Fleet) -> dict[str, bytes]:
    """Of all hosts, by split and name."""
    return {f"{split}/{path.name}": path.read_bytes() for split, at in fleet.directories() for path in at.glob("*.sig")}


def test_ranks_killed_while_text_streams_by(fleet: Fleet, copies_hub: Path, tmp_path: Path) -> None:
    """Shards and signatures are those of one process that nobody disturbed."""
    shutil.copytree(copies_hub / DATASET, tmp_path / "corpus" / "1")
    shutil.copytree(copies_hub / "team" / "more", tmp_path / "corpus" / "2")
    job = make_job(tmp_path / "corpus", tmp_path / "alone", holdout=Holdout(rate=0.02))
    write_all(replace(job, options=replace(job.options, signatures=Scheme())))
    kinds = (".bin", ".idx", ".sig")
    alone = {name: data for name, data in tree_of(tmp_path / "alone").items() if name.endswith(kinds)}
    files = [(split, path) for split, directory in fleet.directories() for path in directory.iterdir()]
    assert {f"{split}/{path.name}": path.read_bytes() for split, path in files if path.suffix in kinds} == alone
    assert signatures(fleet).keys() >= {f"train/{unit:06d}.sig" for unit in range(UNITS)}
    assert fleet.unfinished() == []


def test_ranks_killed_while_dedup_is_at_work(fleet: Fleet, expected: Path) -> None:
    """A rank killed while it makes signatures anew, and one while it writes what is left, cost an attempt each: lists,
    shards and signatures are the same bytes, and no document counts twice."""
    before, first = signatures(fleet), first_run(fleet)
    for _, directory in fleet.directories():
        for path in directory.glob("*.sig"):
            path.unlink()
    shards = fleet.homes["alpha"] / fleet.base / "shards"
    with held(sorted(shards.glob("0*.bin"))[-1]) as hold:
        running = fleet.begin(dedup_argv(fleet, "killed", "--json"))
        hold.wait()
        strike(fleet, "alpha", "shards", "sig")
    wait_for(lambda: any(first.glob("dedup-*/removed")))
    holdout = fleet.homes["beta"] / fleet.base / "holdout"
    with held(next(path for path in sorted(holdout.glob("0*.bin")) if path.stat().st_size)) as hold:
        hold.wait()
        strike(fleet, "beta", "killed", "bin")
    assert running.wait(120) == 0, running.text
    assert signatures(fleet) == before
    assert lists(fleet) == tree_of(expected / "removed")
    assert made(fleet, "killed") == wanted_of(expected)
    events = running.events()
    assert count(events, "rank_exited", "alpha") == count(events, "rank_exited", "beta") == 1
    require_once(running)
    signed = [counts[0] for event in events if event["event"] == "units_kept" for counts in event["units"]]
    assert sorted(signed) == list(range(UNITS))
    (run,) = (run for run in (fleet.directory / "runs").iterdir() if not is_first(run))
    checked = fleet.call("verify", str(run))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert not [path for home in fleet.homes.values() for path in (home / fleet.base).rglob("*.tmp")]


@pytest.mark.root
def test_disk_of_a_host_full_while_it_writes(fleet: Fleet, expected: Path) -> None:
    """A host without room for what is left is named with its directory and what helps, and all stop; what is there is
    whole; with room the same command completes it."""
    with small_disk(fleet.homes["beta"] / fleet.base / "full", "100k") as disk:
        full = fleet.run(*dedup_argv(fleet, "full", "--plain"), timeout=120)
        assert full.returncode == 1, full.stdout + full.stderr
        assert f"{disk}: No space left on device; free space there and start again: what is finished" in full.stdout
        assert fleet.processes() == []
        assert not [path for home in fleet.homes.values() for path in (home / fleet.base).rglob("*.tmp")]
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        done = fleet.run(*dedup_argv(fleet, "full", "--plain"), timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        assert made(fleet, "full") == wanted_of(expected)


def test_connection_lost_while_keys_are_read(fleet: Fleet, expected: Path, tmp_path: Path) -> None:
    """A host whose connection drops while its keys are read is named, and nothing is left there; the same command goes
    on with the keys that have come."""
    assert fleet.loopback is not None
    command = dedup_argv(fleet, "never", "--dry-run", "--threshold", "0.9")
    sidecar = sorted((fleet.homes["beta"] / fleet.base / "shards").glob("0*.sig"))[-1]
    running = fleet.begin(command)
    wait_for(lambda: "keys of units" in running.text)  # they have been asked whether they are there
    with held(sidecar) as hold:
        hold.wait()
        fleet.loopback.kill_sessions("beta")
        assert running.wait(30) == 1, running.text
    assert "beta: the connection was lost while" in running.text and "try again" in running.text
    assert "Traceback" not in running.text and fleet.processes() == []
    work = max(first_run(fleet).glob("dedup-*"), key=lambda path: path.stat().st_mtime_ns)
    came = {path: path.stat().st_mtime_ns for path in (work / "keys").iterdir()}
    assert came and not (work / "removed").exists()
    done = fleet.run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in came} == came
    pair = open_pair([expected / "train", expected / "holdout"])
    deduplicate(pair, ByteReference(), Settings(threshold=0.9), tmp_path)
    assert tree_of(work / "removed") == tree_of(tmp_path / "removed")
