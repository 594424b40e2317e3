"""provision/prepare/holdings.py: which host has which unit."""

import pytest
from msgspec.structs import replace

from provision.hosts import Host
from provision.plan.assign import assigned
from provision.plan.hostjob import job_of
from provision.plan.ledger import Entry, Ledger
from provision.prepare.holdings import committed_of, discarding, holdings_of, without
from provision.prepare.survey import Silence
from shard.records.progress import UnitCounts
from tests.support.plans import plan_of
from tests.support.surveys import answer_of

PLAN = plan_of(tuple(Host(name=name, ranks=1) for name in ("alpha", "beta", "gamma")))
HERE = PLAN.identity
SILENT = Silence("SSH", "no route")


def ledger(**units: list[int]) -> Ledger:
    return {
        ordinal: Entry(host, UnitCounts(ordinal, 0, 9, 9, 9, 0, 99, 0, 0))
        for host, ordinals in units.items()
        for ordinal in ordinals
    }


def test_committed_units_count_for_this_fingerprint_alone() -> None:
    """What a host has finished is kept if its shards are of this very plan, and lies within it."""
    surveys = {
        "alpha": answer_of(identity=HERE, committed=[(0, 2), (5, 9)]),
        "beta": answer_of(identity=replace(HERE, holdout_seed=7), committed=[(2, 4)]),
        "gamma": SILENT,
    }
    assert committed_of(PLAN, surveys) == {"alpha": [0, 1, 5]}


@pytest.mark.parametrize(
    ("known", "keeper"), [({}, "alpha"), ({"beta": [1]}, "beta"), ({"gamma": [1]}, "alpha")], ids=["", "named", "other"]
)
def test_unit_in_two_places_stays_where_the_ledger_has_it(known: dict[str, list[int]], keeper: str) -> None:
    """Of two copies the ledger's counts, else the first host's; the other host is to remove its own."""
    surveys = {
        "alpha": answer_of(identity=HERE, place="1", committed=[(0, 2)]),
        "beta": answer_of(identity=HERE, place="2", committed=[(1, 3)]),
        "gamma": answer_of(),
    }
    holdings = holdings_of(PLAN, surveys, ledger(**known))
    other = "beta" if keeper == "alpha" else "alpha"
    assert [name for name, units in holdings.committed.items() if 1 in units] == [keeper]
    assert holdings.surplus == {other: [1]}
    (note,) = holdings.notes()
    assert note.startswith(f"{other}: 1 of its units have been done by other hosts as well")
    plan = assigned(discarding(PLAN, holdings), holdings.committed)
    assert {host.name: job_of(plan, host).discard for host in plan.hosts if host.discard} == {other: (1,)}


def test_one_directory_is_one_place() -> None:
    """On a shared file system several hosts see the same units: nothing is removed, one host has them."""
    surveys = {
        "alpha": answer_of(identity=HERE, place="1", committed=[(0, 3)]),
        "beta": answer_of(identity=HERE, place="1", committed=[(0, 3)]),
        "gamma": answer_of(identity=HERE, place="2", committed=[(2, 4)]),
    }
    holdings = holdings_of(PLAN, surveys, ledger(beta=[0], gamma=[2]))
    assert holdings.committed == {"alpha": [1], "beta": [0], "gamma": [2, 3]}
    assert holdings.surplus == {"alpha": [2], "beta": [2]}


def test_silent_host_has_what_the_ledger_says() -> None:
    """A host that gives no answer still has what it is known to have, unless another has it and says so."""
    surveys = {"alpha": answer_of(identity=HERE, committed=[(0, 1)]), "beta": SILENT, "gamma": answer_of()}
    holdings = holdings_of(PLAN, surveys, ledger(beta=[0, 3, 4, 99]))
    assert holdings.committed == {"alpha": [0], "beta": [3, 4], "gamma": []}
    assert holdings.surplus == {}


def test_host_whose_record_cannot_be_read_has_what_the_ledger_says() -> None:
    """A host that answers, but cannot say what it has, loses nothing by it."""
    surveys = {"alpha": answer_of(problem="/x/dataset.json: not ours"), "beta": answer_of(), "gamma": answer_of()}
    assert holdings_of(PLAN, surveys, ledger(alpha=[3])).committed["alpha"] == [3]


def test_ledger_forgets_what_is_no_more() -> None:
    """A host that answers and has lost units is believed; those of silent and of unnamed hosts stay."""
    surveys = {"alpha": answer_of(identity=HERE, committed=[(0, 1)]), "beta": SILENT, "gamma": answer_of()}
    known = ledger(alpha=[0, 1], beta=[2], gamma=[3], elsewhere=[4])
    assert set(holdings_of(PLAN, surveys, known).ledger) == {0, 2, 4}


def test_ledger_without_lost_hosts() -> None:
    """What was on hosts that do not return is nowhere."""
    assert without(ledger(alpha=[0], beta=[1]), ["beta"]) == ledger(alpha=[0])


def test_unit_that_a_host_is_given_is_not_removed_there() -> None:
    """A host that is to do a unit does not begin by removing it, whatever it was told to drop before."""
    host = replace(PLAN.hosts[0], units=(1, 2), discard=(0, 1))
    assert job_of(PLAN, host, discard=(2, 5)).discard == (0, 5)
