"""The plans of a deduplication on hosts: the one by which ranks sign, the one by which they write what is left."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from provision.dedup.remove import left_behind, prepare_removal, removal_plan, require_others
from provision.dedup.search import Leavings
from provision.dedup.sign import signing_plan
from provision.errors import InputError
from provision.finish.placement import Kept
from provision.hosts import Host
from provision.plan.hostjob import job_of
from provision.plan.ledger import Entry
from provision.plan.plan import ExportWanted, Plan, Policy
from provision.plan.rundir import RunDirectory
from provision.prepare.preflight import failures, take_stock
from shard.dedup.gathered import Found
from shard.dedup.parts import Duplicates
from shard.host.commits import Commit
from shard.records.dedup import Scheme, Settings
from shard.records.frozen import canonical_json
from shard.records.options import Options
from shard.records.progress import UnitCounts
from tests.support.plans import plan_of, source_files, tree_of
from tests.support.surveys import answer_of

NOTHING = np.empty(0, dtype=np.int64)
FOUND = Found(Duplicates(documents=60, removed=NOTHING, kept=NOTHING, exact=0, compared=0), [], {})
POLICY = Policy(
    gather_holdout="/here/holdout", export=ExportWanted(format="catid", to="~/catid"), detached=True, rebalance=True
)


@pytest.fixture
def leavings(tmp_path: Path) -> Leavings:
    """Of a run that replaced what was there, and in which all units have moved away from beta."""
    hosts = [Host(name="alpha", ranks=2), Host(name="beta", ranks=3), Host(name="gamma", ranks=1)]
    plan = plan_of(hosts, policy=POLICY, overwrite=True, options=Options(on_disconnect="continue"))
    homes = {0: "gamma", 1: "alpha", 2: "gamma", 3: "alpha", 4: "alpha", 5: "gamma"}
    kept = {unit: Kept(name, UnitCounts(unit, 0, 10, 10, 10, 0, 100, 0, 0), None) for unit, name in homes.items()}
    return Leavings(RunDirectory(tmp_path), plan, kept)


def removal(leavings: Leavings) -> Plan:
    return removal_plan(leavings, FOUND, Settings(), "~/once", "~/once_holdout")


def test_units_stay_where_they_are(leavings: Leavings) -> None:
    """Each host writes what it holds, one with nothing takes no part, nobody waits, and nothing is replaced."""
    plan = removal(leavings)
    assert [(host.name, host.first_rank, host.units) for host in plan.hosts] == [
        ("alpha", 0, (1, 3, 4)),
        ("gamma", 2, (0, 2, 5)),
    ]
    jobs = [job_of(plan, host) for host in plan.hosts]
    assert {job.world_size for job in jobs} == {3} and not any(job.options.await_more for job in jobs)
    assert {job.options.on_disconnect for job in jobs} == {"stop"}
    assert (
        plan.hub_datasets == ()
        and not plan.overwrite
        and plan.policy.export is None
        and plan.policy.gather_holdout is None
    )
    assert plan.fingerprint != leavings.plan.fingerprint and plan.run_id != leavings.plan.run_id


def test_signing_does_nothing_else(leavings: Leavings) -> None:
    """Ranks sign what lies on their hosts; an export or a holdout that the run asked for is not made once more, and
    nothing that lies elsewhere by now is replaced, as the run did."""
    plan = signing_plan(leavings, Scheme())
    assert [(host.name, host.absent, host.units) for host in plan.hosts] == [
        ("alpha", False, (1, 3, 4)),
        ("beta", True, ()),
        ("gamma", False, (0, 2, 5)),
    ]
    assert plan.policy == Policy(on_host_failure="abort", rebalance=False) and not plan.overwrite
    assert (plan.fingerprint, plan.run_id) == (leavings.plan.fingerprint, leavings.plan.run_id)
    options = [job_of(plan, host).options for host in plan.present]
    assert {(one.signatures, one.on_disconnect) for one in options} == {(Scheme(), "stop")}


def test_what_was_there_before_an_append(leavings: Leavings) -> None:
    """Ranks sign old units as their records name them, behind them the run's own; and all become units of one dataset,
    named apart, of the size of their tokens. The proof is over the same units each time."""
    base = leavings.plan.identity
    plan = plan_of([host.host for host in leavings.plan.hosts], earlier=(base,), files=source_files(9, 9))
    record = Commit(UnitCounts(0, 0, 10, 10, 10, 0, 100, 0, 0), "alpha", "", "", "", "", path="p", content_id="c")
    kept = {unit: Kept("alpha", record.counts, record if unit < 6 else None) for unit in range(8)}
    appended = Leavings(leavings.run, plan, kept)
    signing = signing_plan(appended, Scheme())
    assert signing.units[6:] == plan.units and signing.hosts[0].units == tuple(range(8))
    assert [(unit.ordinal, unit.path, unit.part, unit.parts) for unit in signing.units[:2]] == [
        (0, "p", 0, 6),
        (1, "p", 1, 6),
    ]
    assert (signing.unit(7), signing.has(5), signing.has(6)) == (plan.unit(7), False, True)
    assert job_of(signing, signing.hosts[0]).units == signing.units
    assert signing_plan(Leavings(leavings.run, signing, kept), Scheme()) == signing
    left = removal(appended)
    assert left.earlier == () and left.identity.base is None and left.identity.first_unit == 0
    assert removal(Leavings(leavings.run, signing, kept)) == left
    paths = [f"{base.fingerprint[:12]}/p"] * 6 + [f"{plan.fingerprint[:12]}/{unit.path}" for unit in plan.units]
    assert [unit.path for unit in left.units] == paths and left.bytes == 8 * 200
    assert job_of(left, left.hosts[0]).units == left.units
    for one, units in ((left, left.units), (plan, plan.units)):
        assert one.identity.units_sha256 == hashlib.sha256(canonical_json(list(units))).hexdigest()


@pytest.mark.parametrize("path", ["/home/me/p", "../home//me/p"])
def test_joined_and_then_appended_to(leavings: Leavings, path: str) -> None:
    """Joined directories may name files of this machine: no host is told to sign those, and what is left has names
    that a host can be told."""
    base = leavings.plan.identity
    plan = plan_of([host.host for host in leavings.plan.hosts], earlier=(base,))
    record = Commit(UnitCounts(0, 0, 10, 10, 10, 0, 100, 0, 0), "alpha", "", "", "", "", path=path, content_id="c")
    appended = Leavings(leavings.run, plan, {unit: Kept("alpha", record.counts, record) for unit in range(12)})
    with pytest.raises(InputError, match=r"leads out of the dataset: .* shardfleet dedup DIR HOLDOUT"):
        signing_plan(appended, Scheme())
    assert removal(appended).units[0].path == f"{base.fingerprint[:12]}/home/me/p"


@pytest.mark.parametrize(
    ("output_dir", "holdout_dir", "said"),
    [
        ("once", "~/once_holdout", "--to='once': not a whole path"),
        ("~/once", "once", "--holdout-dir='once': not a whole path"),
        ("~/once", "~/once/", "one directory for both"),
        ("~/dataset_shard/", "~/once_holdout", "alpha has shards there"),
        ("~/once", "~/x/../holdout_shard", "alpha has shards there"),
    ],
)
def test_directories_are_looked_at_first(leavings: Leavings, output_dir: str, holdout_dir: str, said: str) -> None:
    """What cannot be made, or is what the shards are in, is refused by its name alone."""
    with pytest.raises(InputError, match=said):
        require_others(leavings.plan, output_dir, holdout_dir)


def test_another_removal_is_in_the_way(leavings: Leavings) -> None:
    """Where the directory holds something else, the remedy is one that dedup has; little space is worth a note."""
    plan = removal(leavings)
    other = answer_of(identity=leavings.plan.identity, output_free=1, holdout_free=1)
    checks = take_stock(plan, {"alpha": other, "gamma": other}, {}, heed_space=False)[1]
    (failed,) = failures(checks["alpha"])
    assert "~/once holds shards of another run" in failed.text
    assert "Choose another --to" in failed.text and "--overwrite" not in failed.text


def test_hosts_that_wrote_before_and_have_nothing_now(leavings: Leavings) -> None:
    """Their copies would be read twice: they are named, with the directories; who takes part is not."""
    counts = UnitCounts(0, 0, 10, 10, 10, 0, 100, 0, 0)
    ledger = {0: Entry("beta", counts), 1: Entry("alpha", counts), 2: Entry("beta", counts)}
    (said,) = left_behind(removal(leavings), ledger)
    assert said.startswith("beta: ") and "~/once and ~/once_holdout" in said


def test_the_directory_of_another_run(leavings: Leavings) -> None:
    """With the --run-dir of the run that is deduplicated nothing is put there before it is refused."""
    run = leavings.run
    run.make()
    for file in (run.ssh_config, run.tokenizer / (leavings.plan.tokenizer.file or "unused")):
        file.write_bytes(b"")
    run.write_plan(leavings.plan)
    before = tree_of(run.path)
    with pytest.raises(InputError, match="give this run another --run-dir"):
        prepare_removal(leavings, FOUND, removal(leavings), run, print)
    assert tree_of(run.path) == before


def test_a_run_directory_that_is_not_whole(leavings: Leavings, tmp_path: Path) -> None:
    """Without the files that the hosts are to be sent, what is missing is named before anything is made."""
    with pytest.raises(InputError, match=r"ssh_config: No such file or directory; the run's directory is not whole"):
        prepare_removal(leavings, FOUND, removal(leavings), RunDirectory(tmp_path / "made"), print)
    assert not (tmp_path / "made").exists()
