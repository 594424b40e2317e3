"""provision/finish/placement.py, gather.py, bring.py and verify_run.py, over hosts that are all this machine."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from provision.errors import InputError
from provision.finish.bring import bring_for_run, bring_holdout
from provision.finish.conclude import conclude
from provision.finish.gather import take_in
from provision.finish.placement import coverage_of, ledger_of, manifest_of, place
from provision.finish.verify_run import merged, verify_run
from provision.plan.hostjob import job_of
from provision.plan.ledger import Entry, Ledger, write_ledger
from provision.plan.plan import Plan, Policy
from provision.reach.settle import Answers
from provision.run.monitor import ClusterState
from shard.errors import DiskFullError
from shard.host.claim import claimed
from shard.host.commits import Commit, Commits
from shard.records.frozen import canonical_json
from shard.records.manifest import MANIFEST_FILE, Manifest, read_manifest
from shard.records.progress import UnitCounts
from shard.records.shards import read_shard
from shard.storage.sidecars import complete_unit
from shard.storage.store import open_store
from shard.verify.stores import verify, verify_job
from tests.support import disks
from tests.support.jobs import unsigned
from tests.support.localhosts import FIRST, SECOND, UNITS, Cluster, copied, write_plan_of
from tests.support.plans import plan_of, tree_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> tuple[Path, Plan]:
    """A directory with what both hosts have written, and the plan by which they did."""
    root = tmp_path_factory.mktemp("made")
    return root, write_plan_of(root, [*documents[:90], None, ""])


@pytest.fixture
def cluster(made: tuple[Path, Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Copies of those directories, with jobs below a home of their own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return copied(*made, tmp_path)


def counts(unit: int, *, tokens: int = 100) -> UnitCounts:
    """A whole file of ten rows: seven in train, two held out, one dropped."""
    return UnitCounts(unit, 0, 10, 10, 7, 2, tokens, 20, 1)


def commits(*units: int, place: str, host: str = "", holdout_place: str = "") -> Commits:
    return Commits(
        place=place,
        holdout_place=holdout_place or f"{place}-holdout",
        units=[Commit(counts(unit), host, f"{unit:064x}", "b", f"{unit + 100:064x}", "d") for unit in units],
    )


def keepers(plan: Plan, found: dict[str, Commits], ledger: Ledger | None = None) -> dict[int, str]:
    return {unit: kept.host for unit, kept in place(plan, found, ledger or {}).kept.items()}


def manifest(plan: Plan, found: dict[str, Commits], ledger: Ledger | None = None) -> Manifest:
    placement = place(plan, found, ledger or {})
    return manifest_of(plan, placement, coverage_of(plan, placement), asked=found.keys(), twice=())


def test_ledger_decides_between_two_copies() -> None:
    """Of two hosts that have a unit the one keeps it that the launcher heard first, else the first in the plan."""
    found = {"alpha": commits(0, 1, 2, place="a"), "beta": commits(1, 2, 3, place="b")}
    ledger = {1: Entry("beta", counts(1))}
    placement = place(plan_of(), found, ledger)
    assert {unit: kept.host for unit, kept in placement.kept.items()} == {0: "alpha", 1: "beta", 2: "alpha", 3: "beta"}
    assert [(spare.unit, spare.host, spare.keeper) for spare in placement.spare] == [
        (1, "alpha", "beta"),
        (2, "beta", "alpha"),
    ]
    assert placement.stuck == ()


def test_one_copy_that_two_hosts_see_is_one_copy() -> None:
    """On a shared file system a unit is of the host that wrote it, and nothing is to be removed."""
    units = [*commits(0, 1, place="s", host="alpha").units, *commits(2, 3, place="s", host="beta").units]
    shared = Commits(place="s", holdout_place="h", units=units)
    placement = place(plan_of(), {"alpha": shared, "beta": shared}, {0: Entry("beta", counts(0))})
    assert {unit: kept.host for unit, kept in placement.kept.items()} == {0: "alpha", 1: "alpha", 2: "beta", 3: "beta"}
    assert placement.spare == placement.stuck == ()
    assert placement.stores == {"alpha": "alpha", "beta": "alpha"}


def test_copies_with_one_holdout_are_left_alone() -> None:
    """Where two hosts share the holdout directory alone, removing one's copy would remove the other's holdout."""
    found = {"alpha": commits(0, place="a", holdout_place="h"), "beta": commits(0, place="b", holdout_place="h")}
    placement = place(plan_of(), found, {})
    assert placement.spare == ()
    assert [(spare.unit, spare.host) for spare in placement.stuck] == [(0, "beta")]


def test_ledger_speaks_only_for_hosts_that_were_not_asked() -> None:
    """What a host was found not to have is gone; what another shows outranks the ledger; strangers hold nothing."""
    ledger = {
        0: Entry("alpha", counts(0)),  # asked, and has it not
        1: Entry("beta", counts(1)),  # not asked
        2: Entry("beta", counts(2)),  # alpha has it as well
        3: Entry("gamma", counts(3)),  # not of this plan
        77: Entry("beta", counts(77)),  # not a unit of this plan
    }
    found = {"alpha": commits(2, place="a")}
    placement = place(plan_of(), found, ledger)
    assert {unit: (kept.host, kept.record is None) for unit, kept in placement.kept.items()} == {
        1: ("beta", True),
        2: ("alpha", False),
    }
    after = ledger_of(plan_of(), placement, ledger, found.keys())
    assert {unit: entry.host for unit, entry in after.items()} == {1: "beta", 2: "alpha", 3: "gamma", 77: "beta"}


def test_manifest_proves_coverage_and_adds_up() -> None:
    """Totals are sums over hosts, ranges are of units, and every row is accounted for."""
    found = {"alpha": commits(0, 1, 2, place="a"), "beta": commits(3, 4, 5, place="b")}
    cluster = manifest(plan_of(), found)
    assert [(host.name, host.units, host.tokens, host.known) for host in cluster.hosts] == [
        ("alpha", ((0, 3),), 300, "records"),
        ("beta", ((3, 6),), 300, "records"),
    ]
    assert (cluster.documents, cluster.tokens, cluster.holdout_documents, cluster.holdout_tokens) == (42, 600, 12, 120)
    assert (cluster.world_size, cluster.tokens_per_rank) == (4, 150)
    proof = cluster.proof
    assert (proof.units, proof.proven, proof.rows, proof.dropped, proof.complete) == (6, 6, 60, 6, True)
    assert (proof.missing, proof.twice) == ((), ())


def test_same_shards_have_one_hash_wherever_they_lie() -> None:
    """One value compares two clusters; by the ledger alone there is none."""
    apart = {"alpha": commits(0, 1, 2, place="a"), "beta": commits(3, 4, 5, place="b")}
    together = {"alpha": commits(*range(6), place="a"), "beta": commits(place="b")}
    one, other = manifest(plan_of(), apart).proof, manifest(plan_of(), together).proof
    assert one.shards_sha256 is not None and one.shards_sha256 == other.shards_sha256
    fewer = manifest(plan_of(), {"alpha": commits(0, 1, place="a")}).proof
    assert fewer.shards_sha256 not in {None, one.shards_sha256}
    ledger = {unit: Entry("beta", counts(unit)) for unit in (3, 4, 5)}
    half = manifest(plan_of(), {"alpha": apart["alpha"]}, ledger)
    assert half.proof.complete and half.proof.shards_sha256 is None
    assert [host.known for host in half.hosts] == ["records", "ledger"]


def test_missing_units_are_named() -> None:
    """A manifest of a part says which units nobody holds, and is not complete."""
    cluster = manifest(plan_of(), {"alpha": commits(0, 4, place="a")})
    assert cluster.proof.missing == ((1, 4), (5, 6))
    assert (cluster.proof.proven, cluster.proof.complete) == (2, False)
    assert manifest(plan_of(), {}).proof.missing == ((0, 6),)


def test_rows_that_do_not_add_up_are_no_proof() -> None:
    """A unit whose rows are not all accounted for is not proven, though it is there."""
    ledger = {unit: Entry("alpha", counts(unit)) for unit in range(6)}
    ledger[2] = Entry("alpha", replace(counts(2), dropped=0))
    cluster = manifest(plan_of(), {}, ledger)
    assert (cluster.proof.proven, cluster.proof.missing, cluster.proof.complete) == (5, (), False)


def test_manifest_is_on_every_host(cluster: Cluster) -> None:
    """The same bytes in the run directory and beside every dataset.json, each time again, equal to what is there."""
    gathered = cluster.gather()
    assert gathered.notes == () and gathered.complete
    data = (cluster.run.path / MANIFEST_FILE).read_bytes()
    for name in (FIRST, SECOND):
        for directory in (cluster.train(name), cluster.holdout(name)):
            assert (directory / MANIFEST_FILE).read_bytes() == data
            assert (directory / MANIFEST_FILE).stat().st_mode & 0o777 == 0o644
    assert "time" not in data.decode() and "date" not in data.decode()
    found = read_manifest(cluster.train(FIRST))
    for host in found.hosts:
        records = [read_shard(cluster.train(host.name), f"{unit:06d}") for unit in cluster.units(host.name)]
        assert host.units == tuple(host_ranges(cluster.units(host.name)))
        assert (host.documents, host.tokens) == (sum(r.documents for r in records), sum(r.tokens for r in records))
    assert cluster.gather().complete
    assert (cluster.run.path / MANIFEST_FILE).read_bytes() == data


def host_ranges(units: list[int]) -> list[tuple[int, int]]:
    starts = [unit for unit in units if unit - 1 not in units]
    ends = [unit + 1 for unit in units if unit + 1 not in units]
    return list(zip(starts, ends, strict=True))


def test_second_copies_are_removed_where_the_ledger_does_not_name_them(cluster: Cluster) -> None:
    """A host that comes back with units that others have done removes its own copy, and the user is told."""
    unit = cluster.units(SECOND)[0]
    cluster.copy(unit, SECOND, FIRST)
    record = read_shard(cluster.train(SECOND), f"{unit:06d}")
    held = read_shard(cluster.holdout(SECOND), f"{unit:06d}")
    figures = (record.source.row_start, record.source.row_end, record.source.file_rows, record.documents)
    known = UnitCounts(unit, *figures, held.documents, record.tokens, held.tokens, sum(record.dropped.values()))
    write_ledger(cluster.run.ledger, cluster.plan.fingerprint, {unit: Entry(SECOND, known)})
    gathered = cluster.gather()
    assert gathered.complete
    assert [f"{FIRST}: units {unit} are also on {SECOND}" in note for note in gathered.notes] == [True]
    assert unit in cluster.units(SECOND) and unit not in cluster.units(FIRST)
    assert not (cluster.holdout(FIRST) / f"{unit:06d}.bin").exists()
    assert {unit: entry.host for unit, entry in cluster.ledger().items()} == {
        unit: name for name in (FIRST, SECOND) for unit in cluster.units(name)
    }
    assert cluster.gather().notes == ()


def test_copies_at_work_stay_and_are_told(cluster: Cluster) -> None:
    """While a supervisor is at work its copies cannot be removed: the unit stands twice, and nothing is complete."""
    unit = cluster.units(FIRST)[0]
    cluster.copy(unit, FIRST, SECOND)
    job = job_of(cluster.plan, cluster.host(SECOND))
    with claimed(cluster.job_directory(SECOND), job):
        gathered = cluster.gather()
    assert not gathered.complete
    assert gathered.manifest.proof.twice == ((unit, unit + 1),)
    assert "its second copies of units are still there" in gathered.notes[0] and "at work" in gathered.notes[0]
    assert unit in cluster.units(SECOND)


def test_shared_directories_are_counted_once(cluster: Cluster) -> None:
    """Two hosts that see the same directories hold one copy, of which nothing is removed."""
    for unit in cluster.units(SECOND):
        cluster.copy(unit, SECOND, FIRST)
    first = cluster.host(FIRST)
    hosts = (first, replace(cluster.host(SECOND), output_dir=first.output_dir, holdout_dir=first.holdout_dir))
    shared = Cluster(replace(cluster.plan, hosts=hosts), cluster.run)
    job = job_of(shared.plan, hosts[1])
    (shared.job_directory(SECOND) / "job.json").write_bytes(canonical_json(job))
    gathered = shared.gather()
    assert gathered.complete and gathered.notes == ()
    assert [len(host.units) > 0 and host.store for host in gathered.manifest.hosts] == [FIRST, FIRST]
    assert len(shared.units(FIRST)) == UNITS


def test_hosts_that_cannot_be_asked_are_known_by_the_ledger(cluster: Cluster) -> None:
    """Their units count by what was heard; a host that fails to answer is told, one left out on purpose is not."""
    assert cluster.gather().complete  # fills the ledger
    shutil.rmtree(cluster.job_directory(SECOND))
    gathered = cluster.gather()
    assert gathered.complete
    assert [host.known for host in gathered.manifest.hosts] == ["records", "ledger"]
    assert len(gathered.notes) == 1 and gathered.notes[0].startswith(f"known by the ledger only: {SECOND}")
    assert cluster.gather(without=(SECOND,)).notes == ()
    cluster.run.ledger.unlink()
    alone = cluster.gather(without=(SECOND,))
    assert alone.manifest.proof.missing == tuple(host_ranges(cluster.units(SECOND)))


def test_manifest_is_put_only_beside_shards_of_the_run(cluster: Cluster) -> None:
    """Nothing is made where a host holds no directory of this fingerprint."""
    shutil.rmtree(cluster.train(SECOND))
    (cluster.holdout(SECOND) / "dataset.json").unlink()
    gathered = cluster.gather()
    assert not gathered.complete
    assert not cluster.train(SECOND).exists()
    assert not (cluster.holdout(SECOND) / MANIFEST_FILE).exists()


def test_commits_that_were_never_heard_are_taken_in(cluster: Cluster) -> None:
    """The state of a run whose events were lost is what the hosts' records say."""
    state = ClusterState(cluster.plan)
    gathered = cluster.known(FIRST, SECOND)
    take_in(state, gathered)
    assert state.complete
    assert (state.totals.tokens, state.totals.dropped) == (gathered.manifest.tokens, gathered.manifest.proof.dropped)


@pytest.mark.parametrize(("text", "code"), [("", 130), ("beta lost: silent (--on-host-failure abort)\n", 1)])
def test_reason_of_an_abort_decides_the_exit_code(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], text: str, code: int
) -> None:
    """What the user stops is 130; what the launcher stopped by itself is 1, with its reason."""
    shutil.rmtree(cluster.train(SECOND))
    cluster.run.aborted.write_text(text)
    answers = Answers({}, {}, frozenset({FIRST, SECOND}))
    state = ClusterState(cluster.plan)
    take_in(state, cluster.gather())
    assert conclude(cluster.run, state, answers, stopped=True, as_json=True) == code
    last = json.loads(capsys.readouterr().out)
    assert (last["exit_code"], last["reason"]) == (code, text.strip())
    assert last["units_committed"] == len(cluster.units(FIRST))
    assert last["manifest"] is None


def test_incomplete_run_brings_no_holdout(cluster: Cluster, tmp_path: Path) -> None:
    """A run that was to bring its holdout and is not complete brings none, and says so."""
    target = tmp_path / "gathered"
    plan = replace(cluster.plan, policy=Policy(gather_holdout=str(target)))
    whole, half = cluster.known(FIRST, SECOND), cluster.known(FIRST)
    for file in cluster.train(SECOND).iterdir():
        file.unlink()
    missing = cluster.known(FIRST, SECOND)
    assert bring_for_run(cluster.run, plan, missing) == (
        False,
        [f"holdout not brought to {target}: the run is not complete"],
    )
    assert not target.exists()
    assert bring_for_run(cluster.run, plan, whole)[0]
    done, lines = bring_for_run(cluster.run, plan, half)
    assert not done and "cannot be asked for the holdout" in lines[0]
    assert bring_for_run(cluster.run, cluster.plan, missing) == (True, [])


def test_holdout_comes_as_one_directory(cluster: Cluster, tmp_path: Path) -> None:
    """The holdout of both hosts, byte for byte, is a directory that verifies with their train shards."""
    target = tmp_path / "gathered"
    gathered = cluster.known(FIRST, SECOND)
    brought = bring_holdout(cluster.run, cluster.plan, gathered, target)
    assert (brought.units, brought.problems) == (UNITS, ())
    union = {**tree_of(cluster.holdout(FIRST)), **tree_of(cluster.holdout(SECOND))}
    wanted = {name: data for name, data in union.items() if name[0].isdigit() or name == "dataset.json"}
    assert tree_of(target) == wanted
    report = verify([cluster.train(FIRST), cluster.train(SECOND), target])
    assert report.coverage.complete and report.findings == []


def test_holdout_is_brought_again_only_where_it_differs(cluster: Cluster, tmp_path: Path) -> None:
    """Equal files are kept as they are; damaged and missing ones are brought again."""
    target = tmp_path / "gathered"
    gathered = cluster.known(FIRST, SECOND)
    first = bring_holdout(cluster.run, cluster.plan, gathered, target)
    whole = tree_of(target)
    inodes = {path.name: path.stat().st_ino for path in target.iterdir()}
    assert bring_holdout(cluster.run, cluster.plan, gathered, target).bytes == 0
    assert {path.name: path.stat().st_ino for path in target.iterdir()} == inodes
    (target / "000001.bin").write_bytes(b"\0" * len(whole["000001.bin"]))
    (target / "000002.idx").unlink()
    (target / "000003.json").unlink()
    again = bring_holdout(cluster.run, cluster.plan, gathered, target)
    assert 0 < again.bytes < first.bytes
    assert tree_of(target) == whole


def test_sidecars_come_along(cluster: Cluster, tmp_path: Path) -> None:
    """What stands beside the holdout for trainers comes with it, names of the payload by links made here; what hosts
    have made since is brought, too."""
    target = tmp_path / "gathered"
    bring_holdout(cluster.run, cluster.plan, cluster.known(FIRST, SECOND), target)
    before = tree_of(target)
    options = replace(cluster.plan.options, trainers=("datatrove", "olmo"))
    for name in (FIRST, SECOND):
        job = replace(job_of(cluster.plan, cluster.host(name)), options=options)
        with open_store(job) as directories:
            for unit in job.units:
                assert complete_unit(job, directories, unit, unsigned) is not None
    brought = bring_holdout(cluster.run, cluster.plan, cluster.known(FIRST, SECOND), target)
    assert (brought.units, brought.problems) == (UNITS, ())
    union = {**tree_of(cluster.holdout(FIRST)), **tree_of(cluster.holdout(SECOND))}
    wanted = {name: data for name, data in union.items() if name[0].isdigit() or name == "dataset.json"}
    assert tree_of(target) == wanted
    assert len(wanted) == len(before) + sum(len(read_shard(target, f"{n:06d}").sidecars) for n in range(UNITS))
    assert all(path.samefile(path.with_suffix(".bin")) for path in target.glob("*.npy"))
    assert verify([cluster.train(FIRST), cluster.train(SECOND), target]).findings == []
    table = next(cluster.holdout(SECOND).glob("*.csv.gz"))
    (target / table.name).unlink()
    table.write_bytes(b"damaged")
    brought = bring_holdout(cluster.run, cluster.plan, cluster.known(FIRST, SECOND), target)
    assert len(brought.problems) == 1 and brought.problems[0].startswith(f"{SECOND}: {table}: sha256")


def test_damage_on_a_host_is_not_brought(cluster: Cluster, tmp_path: Path) -> None:
    """A payload that is not what its record says is an error that names host and file; the other host's come."""
    unit = cluster.units(SECOND)[0]
    gathered = cluster.known(FIRST, SECOND)
    payload = cluster.holdout(SECOND) / f"{unit:06d}.bin"
    payload.write_bytes(b"\1" * payload.stat().st_size)
    target = tmp_path / "gathered"
    brought = bring_holdout(cluster.run, cluster.plan, gathered, target)
    assert len(brought.problems) == 1 and brought.problems[0].startswith(f"{SECOND}: {payload}: sha256")
    assert not (target / f"{unit:06d}.json").exists()
    assert all((target / f"{other:06d}.json").exists() for other in cluster.units(FIRST))


def test_holdout_of_hosts_that_cannot_be_asked_is_missed(cluster: Cluster, tmp_path: Path) -> None:
    """What only the ledger knows cannot be brought, and that is said."""
    brought = bring_holdout(cluster.run, cluster.plan, cluster.known(FIRST), tmp_path / "gathered")
    assert brought.units == len(cluster.units(FIRST))
    assert brought.problems == (f"{SECOND}: cannot be asked for the holdout of its {len(cluster.units(SECOND))} units",)


def test_directories_of_others_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    """A host's own directory, train shards, and files without dataset.json are not mixed with the holdout."""
    gathered = cluster.known(FIRST, SECOND)
    stray = tmp_path / "stray"
    stray.mkdir()
    (stray / "000000.bin").touch()
    train = tmp_path / "train"
    shutil.copytree(cluster.train(FIRST), train)
    (tmp_path / "file").touch()
    for target, words in (
        (cluster.holdout(FIRST), "is a directory of"),
        (train, "holds train shards"),
        (stray, "holds 000000.bin but no dataset.json"),
        (tmp_path / "file", "File exists"),
    ):
        before = tree_of(target) if target.is_dir() else {}
        with pytest.raises(InputError, match=words):
            bring_holdout(cluster.run, cluster.plan, gathered, target)
        assert (tree_of(target) if target.is_dir() else {}) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for a part of the holdout."""
    with disks.small_disk(tmp_path / "disk", "64k") as mount:
        yield mount


@pytest.mark.root
def test_full_disk_leaves_whole_shards(cluster: Cluster, small_disk: Path) -> None:
    """The error says what to do; no temporary file stays, and every record has its files."""
    target = small_disk / "gathered"
    gathered = cluster.known(FIRST, SECOND)
    assert sum(path.stat().st_size for name in (FIRST, SECOND) for path in cluster.holdout(name).iterdir()) > 65536
    with pytest.raises(DiskFullError, match=r"no space left.*shardfleet gather"):
        bring_holdout(cluster.run, cluster.plan, gathered, target)
    files = sorted(os.listdir(target))
    assert not [name for name in files if name.endswith(".tmp")]
    for record in target.glob("[0-9]*.json"):
        shard = read_shard(target, record.stem)
        assert record.with_suffix(".bin").stat().st_size == shard.payload_bytes


def reports(cluster: Cluster, *names: str) -> list:
    return [
        directory for name in names for directory in verify_job(job_of(cluster.plan, cluster.host(name))).directories
    ]


def test_ledger_completes_a_verification(cluster: Cluster) -> None:
    """A host that gave no report counts by the ledger, as facts; without the ledger its units are missing."""
    read = reports(cluster, FIRST)
    silent = {SECOND: f"{SECOND}: cannot be reached"}
    found = merged(cluster.plan, read, silent, cluster.commits())
    assert found.report.ok and found.report.coverage.complete
    assert found.by_ledger[SECOND].units == len(cluster.units(SECOND))
    assert [directory.basis for directory in found.report.directories] == ["bytes", "bytes", "ledger", "ledger"]
    assert found.problems == [
        f"{SECOND}: cannot be reached; its {len(cluster.units(SECOND))} units are known by the ledger only"
    ]
    nothing = merged(cluster.plan, read, silent, {})
    assert not nothing.report.coverage.complete and nothing.by_ledger[SECOND].units == 0


def test_figures_of_the_ledger_must_add_up(cluster: Cluster) -> None:
    """A ledger that lost a row of a unit proves nothing about it."""
    unit = cluster.units(SECOND)[0]
    ledger = cluster.commits()
    ledger[unit] = Entry(SECOND, replace(ledger[unit].counts, documents=ledger[unit].counts.documents - 1))
    found = merged(cluster.plan, reports(cluster, FIRST), {SECOND: "gone"}, ledger)
    assert not found.report.coverage.complete and not found.report.ok


def test_what_another_host_shows_is_not_taken_from_the_ledger(cluster: Cluster) -> None:
    """A unit that the ledger gives to a silent host and another one has is there once, its bytes read."""
    cluster.gather()
    ledger = cluster.commits()
    unit = cluster.units(FIRST)[0]
    ledger[unit] = Entry(SECOND, ledger[unit].counts)
    found = merged(cluster.plan, reports(cluster, FIRST), {SECOND: "gone"}, ledger)
    assert found.report.coverage.complete


def test_absent_hosts_are_not_asked(cluster: Cluster) -> None:
    """A host that took no part counts by the ledger; one of which nothing is known is left out."""
    write_ledger(cluster.run.ledger, cluster.plan.fingerprint, cluster.commits())
    assert verify_run(cluster.run).by_ledger == {}
    second = replace(cluster.host(SECOND), absent=True)
    third = replace(second, name="127.0.0.3", units=())
    plan = replace(cluster.plan, hosts=(cluster.host(FIRST), second, third))
    cluster.run.write_plan(plan)
    found = verify_run(cluster.run)
    assert found.report.coverage.complete
    assert set(found.by_ledger) == {SECOND}
    assert "took no part" in found.problems[0]
