"""provision/dedup/search.py and answers.py, over hosts that are all this machine."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace as with_fields
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from provision.dedup.answers import Hosts
from provision.dedup.remove import prepare_removal, removal_plan
from provision.dedup.search import Leavings, leavings_of, search, unsigned
from provision.errors import InputError, RemoteError
from provision.plan.plan import Plan
from provision.plan.rundir import RunDirectory
from shard.dedup.gathered import Some, UnitKeys
from shard.errors import DiskFullError
from shard.records.dedup import Scheme, Settings
from shard.records.options import Options
from tests.support.copies import planted
from tests.support.disks import small_disk
from tests.support.localhosts import FIRST, SECOND, UNITS, Cluster, copied, write_plan_of
from tests.support.plans import tree_of
from tests.support.text import real_documents

SETTINGS = Settings()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan]:
    """Signed shards of documents with planted copies."""
    root = tmp_path_factory.mktemp("made")
    documents = planted(real_documents(90), 15).documents
    return root, write_plan_of(root, documents, Options(signatures=SETTINGS.scheme))


@pytest.fixture
def cluster(made: tuple[Path, Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return copied(*made, tmp_path)


def leavings(cluster: Cluster) -> Leavings:
    return leavings_of(cluster.run, cluster.plan, pytest.fail)


def test_a_whole_run_is_searched(cluster: Cluster, tmp_path: Path) -> None:
    """Keys of every unit come once; those that are cut short come again, and the lists are the same."""
    seen: list[int] = []
    first = search(leavings(cluster), SETTINGS, tmp_path / "work", None, seen.append)
    assert sum(seen) == UNITS and len(first.duplicates.removed) > first.duplicates.exact > 0
    lists = tree_of(tmp_path / "work" / "removed")
    keys = tmp_path / "work" / "keys"
    times = {path: path.stat().st_mtime_ns for path in keys.iterdir()}
    (keys / "000002.keys").write_bytes(b"cut short")
    again = search(leavings(cluster), SETTINGS, tmp_path / "work", None, lambda _: None)
    assert again.sha256 == first.sha256 and tree_of(tmp_path / "work" / "removed") == lists
    assert [path.name for path, before in times.items() if path.stat().st_mtime_ns != before] == ["000002.keys"]


def test_answers_come_in_parts(cluster: Cluster, tmp_path: Path) -> None:
    """However little a host may answer at a time, keys and signatures are the same."""
    whole = leavings(cluster)
    units = {
        unit: UnitKeys(unit, {"train": kept.counts.documents, "holdout": kept.counts.holdout_documents}, "", tmp_path)
        for unit, kept in whole.kept.items()
    }
    wanted = {unit: Some(unit, np.arange(sum(keys.documents.values()))) for unit, keys in units.items()}
    homes = {unit: kept.host for unit, kept in whole.kept.items()}
    found: list[tuple[dict[str, bytes], dict[int, bytes]]] = []
    for most in (1 << 20, 6000, 1):
        hosts = Hosts(cluster.run, cluster.plan, answer_bytes=most)
        directory = tmp_path / str(most)
        directory.mkdir()
        placed = {unit: with_fields(keys, path=directory / f"{unit}.keys") for unit, keys in units.items()}
        hosts.bring_keys(
            {name: [placed[unit] for unit in own] for name, own in whole.homes.items()}, SETTINGS, lambda _: None
        )
        signatures: dict[int, bytes] = {}
        hosts.fetch_signatures(homes, SETTINGS.scheme, wanted, signatures.__setitem__)
        assert all(keys.is_here(SETTINGS) for keys in placed.values()) and len(signatures) == UNITS
        found.append((tree_of(directory), signatures))
    assert found[0] == found[1] == found[2]


def test_lists_do_not_depend_on_who_has_what(cluster: Cluster, tmp_path: Path) -> None:
    """A unit that another host has by now is asked of that one, and the lists are the same; a second copy that goes is
    told."""
    before = search(leavings(cluster), SETTINGS, tmp_path / "before", None, lambda _: None)
    unit = cluster.units(FIRST)[0]
    cluster.copy(unit, FIRST, SECOND)
    for directory in (cluster.train(FIRST), cluster.holdout(FIRST)):
        (directory / f"{unit:06d}.json").unlink()
    other = cluster.units(FIRST)[0]
    cluster.copy(other, FIRST, SECOND)
    told: list[str] = []
    moved = leavings_of(cluster.run, cluster.plan, told.append)
    assert moved.kept[unit].host == SECOND and moved.kept[other].host == FIRST
    assert [f"{SECOND} has removed its own" in line for line in told] == [True]
    after = search(moved, SETTINGS, tmp_path / "after", None, lambda _: None)
    assert tree_of(tmp_path / "after" / "removed") == tree_of(tmp_path / "before" / "removed")
    assert after.sha256 == before.sha256


def test_units_without_signatures_are_counted(cluster: Cluster) -> None:
    """Those that lack them by this scheme, on whatever host."""
    assert unsigned(leavings(cluster), SETTINGS.scheme) == 0
    assert unsigned(leavings(cluster), Scheme(seed=7)) == UNITS
    (cluster.train(SECOND) / f"{cluster.units(SECOND)[0]:06d}.sig").unlink()
    assert unsigned(leavings(cluster), SETTINGS.scheme) == 1


def test_what_is_not_whole_is_refused(cluster: Cluster) -> None:
    """A run that lacks a unit, one whose host does not answer, and one whose shards are gone: each says what to do."""
    record = cluster.train(FIRST) / f"{cluster.units(FIRST)[0]:06d}.json"
    content = record.read_bytes()
    record.unlink()
    with pytest.raises(InputError, match=r"is not complete: .* launch it again first"):
        leavings_of(cluster.run, cluster.plan, lambda _: None)
    record.write_bytes(content)
    names = [cluster.train(name) / "dataset.json" for name in (FIRST, SECOND)]
    for path in names:  # as when others have come in their place, or more
        path.rename(path.with_suffix(".gone"))
    with pytest.raises(InputError, match="no host has its shards any more"):
        leavings_of(cluster.run, cluster.plan, lambda _: None)
    for path in names:
        path.with_suffix(".gone").rename(path)
    cluster.gather()
    shutil.rmtree(cluster.job_directory(SECOND))
    told: list[str] = []
    with pytest.raises(InputError, match=f"{SECOND} cannot be asked"):
        leavings_of(cluster.run, cluster.plan, told.append)
    assert "job.json: No such file" in told[0]


def test_a_plan_that_was_made_anew(cluster: Cluster, tmp_path: Path) -> None:
    """What is in other directories than the plan has by now is not taken for what is in those, nor written beside it;
    the same ones by another name will do. A host that has left the plan is named."""
    first, second = cluster.plan.hosts
    moved = replace(second, output_dir=str(tmp_path / "moved"), holdout_dir=str(tmp_path / "moved_holdout"))
    with pytest.raises(InputError, match=rf"not complete: .*\n  {SECOND}: .*its plan, .*, has {tmp_path}/moved and"):
        leavings_of(cluster.run, replace(cluster.plan, hosts=(first, moved)), lambda _: None)
    assert not (tmp_path / "moved").exists()
    (tmp_path / "link").symlink_to(cluster.train(SECOND))
    renamed = replace(second, output_dir=str(tmp_path / "link"))
    assert len(leavings_of(cluster.run, replace(cluster.plan, hosts=(first, renamed)), pytest.fail).kept) == UNITS
    cluster.gather()
    with pytest.raises(InputError, match=f"{SECOND} has done units of it, and is left out of the plan"):
        leavings_of(cluster.run, replace(cluster.plan, hosts=(first,)), lambda _: None)


def test_answers_that_cannot_be(cluster: Cluster, tmp_path: Path) -> None:
    """What a broken host prints is never more than an error that names the host; nothing of it is kept."""
    whole = leavings(cluster)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nhead -c 1000 /dev/urandom\n")
    python.chmod(0o755)
    broken = Leavings(cluster.run, replace(cluster.plan, local_python=str(python)), whole.kept)
    with pytest.raises(RemoteError, match=rf"{FIRST}: its answer cannot be read"):
        unsigned(broken, SETTINGS.scheme)
    with pytest.raises(RemoteError, match=rf"{FIRST}: 1000 bytes came of \d+"):
        search(broken, SETTINGS, tmp_path / "work", None, lambda _: None)
    assert tree_of(tmp_path / "work" / "keys") == {}

    def take(number: int, data: bytes) -> None:
        pytest.fail(f"{len(data)} bytes of {number} were taken")

    unit = cluster.units(SECOND)[0]
    wanted: Mapping[int, Some] = {0: Some(unit, np.arange(5))}
    with pytest.raises(RemoteError, match=rf"{SECOND}: 1000 bytes came of 1280"):
        Hosts(cluster.run, broken.plan).fetch_signatures({unit: SECOND}, SETTINGS.scheme, wanted, take)


def test_signatures_damaged_since_their_keys_came(cluster: Cluster, tmp_path: Path) -> None:
    """Keys that have come are not fetched again; signatures that are damaged since are refused all the same, with what
    to do, and what is left of them is made again."""
    whole = leavings(cluster)
    search(whole, SETTINGS, tmp_path / "work", None, lambda _: None)
    path = cluster.train(FIRST) / f"{cluster.units(FIRST)[0]:06d}.sig"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes((data[-1] ^ 128,)))
    with pytest.raises(RemoteError, match=rf"{FIRST}: .*{path}: these are not .* remove it: it is made again"):
        search(whole, SETTINGS, tmp_path / "work", None, lambda _: None)
    path.unlink()
    assert unsigned(whole, SETTINGS.scheme) == 1


@pytest.mark.root
def test_no_room_on_the_launcher(cluster: Cluster, tmp_path: Path) -> None:
    """Where keys that come, or what the run that removes is sent, finds no room, the place is named and nothing is
    half-written; with room the same is done."""
    whole = leavings(cluster)
    with small_disk(tmp_path / "disk", "2m") as disk:
        ballast = disk / "ballast"

        def fill() -> None:
            room = os.statvfs(disk)
            ballast.write_bytes(bytes(room.f_bavail * room.f_bsize))

        fill()
        with pytest.raises(DiskFullError, match=f"^{disk}/work/keys: No space left on device; .* start again"):
            search(whole, SETTINGS, disk / "work", None, lambda _: None)
        assert tree_of(disk / "work") == {}
        ballast.unlink()
        found = search(whole, SETTINGS, disk / "work", None, lambda _: None)
        plan = removal_plan(whole, found, SETTINGS, str(tmp_path / "once"), str(tmp_path / "once_holdout"))
        fill()
        with pytest.raises(DiskFullError, match=f"^{disk}/run: No space left on device; .* start again"):
            prepare_removal(whole, found, plan, RunDirectory(disk / "run"), lambda _: None)
        assert tree_of(disk / "run") == {}
        ballast.unlink()
        prepared = prepare_removal(whole, found, plan, RunDirectory(disk / "run"), lambda _: None)
        assert prepared.plan.units == cluster.plan.units and len(tree_of(disk / "run")) == 3
