"""Files and hosts in, plan out."""

from collections import Counter
from fractions import Fraction
from itertools import groupby

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.errors import PlanError
from provision.hosts import Host
from provision.plan.assign import assign, assigned
from provision.plan.hostjob import job_of
from provision.plan.plan import Plan, run_id_of
from provision.plan.units import units_of
from shard.records.frozen import canonical_json
from shard.records.job import Holdout, Job
from shard.records.unit import Unit
from tests.support.jobs import rank_spec
from tests.support.plans import MIB, dataset, plan_of, source_files

SIZES = st.lists(st.integers(0, 5 * MIB), max_size=60)
RANKS = st.lists(st.integers(1, 16), min_size=1, max_size=12)


def units_from(sizes: list[int], unit_bytes: int = 1 << 40) -> tuple[Unit, ...]:
    return units_of(source_files(*sizes), unit_bytes)


@given(SIZES, st.integers(1 << 16, 4 * MIB))
def test_units_cover_every_byte_of_every_file_once(sizes: list[int], unit_bytes: int) -> None:
    """Units follow each other through each file from its first byte to its last, in dataset order."""
    units = units_from(sizes, unit_bytes)
    assert [unit.ordinal for unit in units] == list(range(len(units)))
    covered = []
    for path, parts in groupby(units, key=lambda unit: unit.path):
        listed = list(parts)
        assert [unit.part for unit in listed] == list(range(listed[0].parts))
        assert [unit.byte_start for unit in listed] == [0, *(unit.byte_end for unit in listed[:-1])]
        covered.append((path, listed[-1].byte_end))
    assert covered == [(file.path, file.size) for file in source_files(*sizes)]


@given(SIZES, st.integers(1 << 16, 4 * MIB))
def test_units_are_the_fewest_that_are_small_enough(sizes: list[int], unit_bytes: int) -> None:
    """No unit is larger than asked for, and no file is cut into more parts than that needs."""
    units = units_from(sizes, unit_bytes)
    assert all(unit.bytes <= unit_bytes for unit in units)
    fewest = [max(1, -(-size // unit_bytes)) for size in sizes]
    assert list(Counter(unit.path for unit in units).values()) == fewest


@given(RANKS, RANKS)
def test_units_do_not_depend_on_hosts(few: list[int], many: list[int]) -> None:
    """The same dataset gives the same units and fingerprint on any cluster."""
    plans = [
        plan_of([Host(name=f"n{index}", ranks=count) for index, count in enumerate(ranks)], unit_bytes=3 * MIB)
        for ranks in (few, many)
    ]
    assert plans[0].units == plans[1].units
    assert (plans[0].fingerprint, plans[0].run_id) == (plans[1].fingerprint, plans[1].run_id)


def test_unit_size_below_a_byte_is_refused() -> None:
    """A unit size that is not positive is a PlanError that names the option."""
    with pytest.raises(PlanError, match="--unit-size 0"):
        units_of(source_files(5), 0)


@given(SIZES, RANKS)
def test_every_unit_is_assigned_once(sizes: list[int], ranks: list[int]) -> None:
    """The shares of the hosts are disjoint, ascending, and together all units."""
    units = units_from(sizes)
    shares = assign(units, ranks, {})
    assert len(shares) == len(ranks)
    assert all(share == sorted(share) for share in shares)
    assert sorted(ordinal for share in shares for ordinal in share) == [unit.ordinal for unit in units]


@given(SIZES, RANKS)
def test_assignment_is_balanced(sizes: list[int], ranks: list[int]) -> None:
    """No host has more bytes per rank than the mean and one largest unit on its own ranks: the bound of the rule."""
    units = units_from(sizes)
    mean = Fraction(sum(sizes), sum(ranks))
    for share, count in zip(assign(units, ranks, {}), ranks, strict=True):
        assert Fraction(sum(units[ordinal].bytes for ordinal in share), count) <= mean + Fraction(
            max(sizes, default=0), count
        ) + Fraction(1)  # loads are floats


@given(SIZES, RANKS, st.randoms(use_true_random=False))
def test_assignment_is_deterministic(sizes: list[int], ranks: list[int], random: "object") -> None:
    """The same units in any order get the same hosts."""
    units = list(units_from(sizes))
    expected = assign(units, ranks, {})
    random.shuffle(units)  # type: ignore[attr-defined]
    assert assign(units, ranks, {}) == expected


@given(SIZES, RANKS, st.data())
def test_placed_units_stay(sizes: list[int], ranks: list[int], data: st.DataObject) -> None:
    """A unit that a host has committed stays with it, and the rest is balanced as if those were not there."""
    units = units_from(sizes)
    hosts = st.integers(0, len(ranks) - 1)
    placed = data.draw(st.dictionaries(st.sampled_from(range(len(sizes))), hosts)) if sizes else {}
    shares = assign(units, ranks, placed)
    assert {ordinal: host for host, share in enumerate(shares) for ordinal in share if ordinal in placed} == placed
    pending = [unit for unit in units if unit.ordinal not in placed]
    assert [[o for o in share if o not in placed] for share in shares] == assign(pending, ranks, {})


def test_equal_units_go_round() -> None:
    """Six equal units on two hosts of two ranks and one of two: one after the other."""
    assert assign(units_from([MIB] * 6), [1, 1, 1], {}) == [[0, 3], [1, 4], [2, 5]]


def test_hosts_get_work_by_their_ranks() -> None:
    """A host with three times the ranks gets three times the bytes."""
    assert [len(share) for share in assign(units_from([MIB] * 40), [3, 1], {})] == [30, 10]


def test_committed_units_are_placed_where_they_are() -> None:
    """What the hosts have finished stays there; the first host to claim a unit keeps it."""
    plan = plan_of(committed={"beta": [0, 1, 2], "alpha": [2, 5]})
    shares = {host.name: set(host.units) for host in plan.hosts}
    assert shares["beta"] >= {0, 1, 2}
    assert 5 in shares["alpha"]
    assert shares["alpha"] & shares["beta"] == set()


def test_fifty_thousand_files_on_256_hosts() -> None:
    """A large cluster's plan is made whole: every unit once, its jobs sum up to it."""
    sizes = [MIB + (number * 7919) % MIB for number in range(50_000)]
    hosts = [Host(name=f"n{index:03d}", ranks=8) for index in range(256)]
    plan = plan_of(hosts, files=source_files(*sizes))
    assert len(plan.units) == 50_000
    assert plan.world_size == 2048
    assert sorted(ordinal for host in plan.hosts for ordinal in host.units) == list(range(50_000))
    assert [host.first_rank for host in plan.hosts] == list(range(0, 2048, 8))
    loads = [sum(plan.units[ordinal].bytes for ordinal in host.units) for host in plan.hosts]
    assert max(loads) - min(loads) <= max(sizes)
    job = job_of(plan, plan.hosts[-1])
    assert tuple(unit.ordinal for unit in job.units) == plan.hosts[-1].units


def test_plan_survives_its_file() -> None:
    """A plan read back from its JSON is equal, and its JSON has one spelling."""
    plan = plan_of([Host(name="a", ranks=1, user="bob", port=2222, output_dir="/data/s"), Host(name="b", ranks=3)])
    data = canonical_json(plan)
    again = msgspec.json.decode(data, type=Plan)
    assert again == plan
    assert canonical_json(again) == data


def test_hosts_have_their_own_directories() -> None:
    """output_dir and holdout_dir of hosts.txt win over the options, host by host."""
    plan = plan_of([Host(name="a", ranks=1, output_dir="/data/s"), Host(name="b", ranks=1, holdout_dir="~/h")])
    found = [(host.output_dir, host.holdout_dir) for host in plan.hosts]
    assert found == [("/data/s", "~/holdout_shard"), ("~/dataset_shard", "~/h")]


def test_job_is_the_hosts_part_of_the_plan() -> None:
    """A job holds its host's units alone, in order, its directories and ranks, and all that decides bytes."""
    beta = Host(name="beta", ranks=2, output_dir="/data/shards", holdout_dir="/data/holdout")
    plan = plan_of((Host(name="alpha", ranks=2), beta), overwrite=True, tokenizer=rank_spec(), holdout=Holdout(seed=7))
    jobs = [job_of(plan, host) for host in plan.hosts]
    assert [[unit.ordinal for unit in job.units] for job in jobs] == [list(host.units) for host in plan.hosts]
    assert [(job.host, job.first_rank, job.ranks, job.world_size) for job in jobs] == [
        ("alpha", 0, 2, 4),
        ("beta", 2, 2, 4),
    ]
    assert {job.fingerprint for job in jobs} == {plan.fingerprint}
    assert [(job.output_dir, job.holdout_dir) for job in jobs] == [
        ("~/dataset_shard", "~/holdout_shard"),
        ("/data/shards", "/data/holdout"),
    ]
    for job in jobs:
        assert (job.dataset, job.tokenizer, job.holdout) == (plan.dataset, plan.tokenizer, plan.holdout)
    assert all(job.overwrite for job in jobs)
    assert [msgspec.json.decode(canonical_json(job), type=Job) for job in jobs] == jobs


def test_run_id_follows_from_what_the_command_says() -> None:
    """The same command gives the same run; other bytes or other directories give another."""
    first = plan_of()
    assert plan_of().run_id == first.run_id
    others = [
        plan_of(holdout=Holdout(seed=1)),
        plan_of(dataset=dataset(text_column="body")),
        plan_of(output_dir="/elsewhere"),
        plan_of(holdout_dir="/elsewhere"),
        plan_of(files=source_files(1, 2, 3)),
    ]
    assert len({first.run_id, *(plan.run_id for plan in others)}) == 6


@given(st.text(min_size=1, max_size=200))
def test_run_id_is_safe_everywhere(name: str) -> None:
    """Whatever the dataset is called, its run id is a plain word: a file name, a shell word, an ssh argument."""
    run_id = run_id_of(dataset(name), "f" * 64, "~/a", "~/b")
    assert run_id.isascii()
    assert len(run_id) <= 51
    assert run_id.replace("-", "").isalnum()
    assert run_id == run_id.lower()
    assert not run_id.startswith("-")


def test_assigned_twice_is_assigned_once() -> None:
    """Giving out the units again, with nothing new, changes nothing."""
    plan = plan_of()
    assert assigned(plan, {}) == plan
    done = {host.name: list(host.units) for host in plan.hosts}
    assert assigned(plan, done) == plan
