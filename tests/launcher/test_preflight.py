"""checks.py and preflight.py of provision/prepare: whether hosts can take part, and who does without them."""

from typing import Any

import pytest
from msgspec.structs import replace

from provision.errors import NotReadyError
from provision.hosts import Host
from provision.plan.estimates import disk_needed, room_needed
from provision.plan.plan import Plan
from provision.prepare.checks import Check, checks_of
from provision.prepare.preflight import failures, notes, require_ready, take_stock
from provision.prepare.survey import Silence
from shard.host.otherruns import RunHere
from shard.records.hub import HubAnswer
from shard.records.job import Holdout
from shard.records.options import Options
from tests.support.plans import MIB, plan_of, source_files
from tests.support.surveys import answer_of

HOSTS = (Host(name="alpha", ranks=2), Host(name="beta", ranks=2))
PLAN = plan_of(HOSTS)


def check(what: str, *, plan: Plan = PLAN, heed_space: bool = True, **fields: Any) -> Check:
    """What is found of that on alpha."""
    found = checks_of(plan, plan.hosts[0], answer_of(**fields), (), heed_space=heed_space)
    return next(one for one in found if one.what == what)


def run_here(**fields: Any) -> list[RunHere]:
    return [RunHere(**{"run_id": "other-1", "processes": 3, "supervised": True, "writes_here": False, **fields})]


def test_host_with_which_all_is_well() -> None:
    """Every check of such a host is passed, and there is nothing to note."""
    found = checks_of(PLAN, PLAN.hosts[0], answer_of(hub=HubAnswer(outcome="admitted")), (), heed_space=True)
    assert {one.level for one in found} == {"ok"}
    assert [one.text for one in found if one.text] == []
    assert len({one.what for one in found}) == len(found) == 12


@pytest.mark.parametrize(
    ("what", "fields", "level", "words"),
    [
        ("shards", {"problem": "/x: cannot write there"}, "failed", "/x: cannot write there"),
        ("Hub", {"hub": HubAnswer(outcome="unreachable", detail="no way")}, "failed", "hub.test from there: no way"),
        ("Hub", {"hub": HubAnswer(outcome="refused", detail="HTTP 403")}, "failed", "HTTP 403; set HF_TOKEN"),
        ("Hub", {"hub": HubAnswer(outcome="busy", detail="HTTP 503")}, "note", "HTTP 503; ranks wait for it"),
        ("clock", {"ahead": (-0.1, 9.0)}, "ok", ""),
        ("clock", {"ahead": (7.0, 8.0)}, "note", "7 s ahead of this machine's"),
        ("clock", {"ahead": (-99.0, -60.0)}, "note", "60 s behind this machine's"),
        ("clock", {"ahead": (301.0, 302.0)}, "failed", "301 s ahead of this machine's, which breaks TLS"),
        ("clock", {"ahead": (-9e8, -9e8)}, "failed", "10417 d behind"),
        ("files", {"open_files": None}, "ok", ""),
        ("files", {"open_files": 70}, "failed", "70 files (4096 at most), 96 are needed for 2 ranks with 16 spans"),
        ("files", {"open_files": 70, "open_files_hard": 75}, "failed", "and the hard one first"),
        ("runs", {"runs": run_here()}, "note", "also at work: run other-1"),
        ("runs", {"runs": run_here(supervised=False)}, "note", "left-over processes: 3 of run other-1; 'shardfleet ab"),
        ("runs", {"runs": run_here(writes_here=True)}, "failed", "it with 'shardfleet abort other-1' where it was"),
        ("runs", {"runs": run_here(run_id=PLAN.run_id, writes_here=True)}, "note", "3 processes of this run are there"),
        ("cores", {"cores": 1}, "note", "2 ranks on 1 cores"),
    ],
)  # fmt: skip
def test_what_is_not_as_it_should_be(what: str, fields: dict[str, Any], level: str, words: str) -> None:
    """Each check says how bad it is, the value, and the remedy."""
    found = check(what, **fields)
    assert found.level == level
    assert words in found.text


@pytest.mark.parametrize(
    ("options", "ranks", "need"),
    [(Options(), 2, 96), (Options(spans_in_flight=64), 2, 192), (Options(), 64, 576)],
    ids=["few", "many spans", "many ranks"],
)
def test_files_follow_ranks_and_spans(options: Options, ranks: int, need: int) -> None:
    """A rank needs files for its requests, the supervisor for its ranks: whichever needs more decides."""
    plan = plan_of((Host(name="alpha", ranks=ranks),), options=options)
    assert check("files", plan=plan, open_files=need).level == "ok"
    assert f"{need} are needed" in check("files", plan=plan, open_files=need - 1).text


def test_another_fingerprint_is_named_field_by_field() -> None:
    """Shards of other options are a failure that names what differs, unless they are to be replaced."""
    other = plan_of(HOSTS, holdout=Holdout(rate=0.5, seed=3)).identity
    assert check("shards", identity=other).text == (
        "~/dataset_shard holds shards of another run. Differing: holdout_rate: 0.001, not 0.5; "
        "holdout_seed: 0, not 3. Choose another --output-dir, or replace those shards with --overwrite"
    )
    assert check("shards", plan=replace(PLAN, overwrite=True), identity=other).level == "ok"
    assert check("shards", identity=PLAN.identity, committed=[(0, 2), (4, 5)]).shown == "3"


@pytest.mark.parametrize(("share", "level"), [(1.01, "ok"), (0.99, "note"), (0.81, "note"), (0.79, "failed")])
def test_space_against_the_estimate(share: float, level: str) -> None:
    """A little less than the estimate is worth a note, a fifth less is refused, unless it is not to be heeded."""
    room = room_needed(PLAN, PLAN.hosts[0], ())
    free = int(share * (room.train + room.holdout))
    found = check("disk GB", output_free=free, holdout_free=free)
    assert found.level == level
    assert ("needed in ~/dataset_shard" in found.text) == (level != "ok")
    assert ("--skip-space-check" in found.text) == (level == "failed")
    assert check("disk GB", output_free=free, heed_space=False).level == ("ok" if level == "ok" else "note")


def test_space_on_two_disks_is_looked_at_on_each() -> None:
    """Shards and holdout add up where they share a disk; else each has its own need."""
    plan = plan_of(HOSTS, holdout=Holdout(rate=0.25))
    room = room_needed(plan, plan.hosts[0], ())
    assert check("disk GB", plan=plan, output_free=room.train).level == "failed"
    assert check("disk GB", plan=plan, output_free=room.train, same_disk=False).level == "ok"
    full = check("disk GB", plan=plan, holdout_free=room.holdout // 2, same_disk=False)
    assert (full.level, "needed in ~/holdout_shard" in full.text, "~/dataset_shard" in full.text) == (
        *("failed", True, False),
    )


def test_room_is_counted_for_what_is_still_to_do() -> None:
    """What is committed needs no more room; files to be downloaded need theirs beside the shards, one for each rank."""
    plan = plan_of(HOSTS, files=source_files(*[100 * MIB] * 6))
    units = plan.hosts[0].units
    whole, rest = room_needed(plan, plan.hosts[0], ()), room_needed(plan, plan.hosts[0], units[1:])
    assert whole.train + whole.holdout == disk_needed(plan, 300 * MIB)
    assert rest.train + rest.holdout == disk_needed(plan, 100 * MIB)
    assert whole.scratch == 0
    downloads = plan_of(HOSTS, files=source_files(*[100 * MIB] * 6), options=Options(fetch="download"))
    assert room_needed(downloads, downloads.hosts[0], ()).scratch == 200 * MIB
    assert room_needed(downloads, downloads.hosts[0], units[1:]).scratch == 100 * MIB


@pytest.mark.parametrize(
    ("at", "passed"),
    [("SSH", []), ("host key", ["SSH"]), ("sign in", ["SSH", "host key"]),
     ("version", ["SSH", "host key", "sign in", "Python"])],
)  # fmt: skip
def test_nothing_is_known_behind_the_first_failure(at: Any, passed: list[str]) -> None:
    """A host that gives no survey has passed what comes before its failure; of the rest nothing is said."""
    found = checks_of(PLAN, PLAN.hosts[0], Silence(at, "alpha: why"), (), heed_space=True)
    assert [one.what for one in found] == [*passed, at]
    assert [one.text for one in failures(found)] == ["why"]


def test_every_host_that_is_not_ready_is_named_at_once() -> None:
    """All failures of all hosts are in one refusal, and the exit code says refused."""
    surveys = {
        "alpha": Silence("SSH", "alpha: no route"),
        "beta": answer_of(problem="/x/dataset.json: not ours", open_files=5),
    }
    plan, checks = take_stock(PLAN, surveys, {})
    with pytest.raises(NotReadyError) as caught:
        require_ready(plan, checks)
    lines = str(caught.value).splitlines()
    assert lines[:3] == ["not started:", "  alpha: no route", "  beta: /x/dataset.json: not ours"]
    assert lines[3].startswith("  beta: a process may open 5 files")
    assert caught.value.exit_code == 2
    require_ready(*take_stock(PLAN, {"alpha": answer_of(), "beta": answer_of()}, {}))


def test_unready_hosts_may_be_left_out() -> None:
    """A host that is left out keeps what it has committed, gets nothing more, and is named with the reason."""
    surveys = {"alpha": answer_of(), "beta": Silence("SSH", "beta: no route")}
    plan, checks = take_stock(PLAN, surveys, {"alpha": [5], "beta": [1]}, skip_unready=True)
    require_ready(plan, checks)
    assert [(host.absent, host.units) for host in plan.hosts] == [(False, (0, 2, 3, 4, 5)), (True, (1,))]
    assert notes(plan, checks) == ["going on without beta, whose 1 finished units count: no route"]


def test_one_host_at_least_must_be_ready() -> None:
    """Where no host is ready, leaving out the unready is refused like everything else, with every reason."""
    surveys = {name: Silence("SSH", f"{name}: no route") for name in ("alpha", "beta")}
    plan, checks = take_stock(PLAN, surveys, {}, skip_unready=True)
    with pytest.raises(NotReadyError, match=r"alpha: no route\n  beta: no route"):
        require_ready(plan, checks)


def test_room_is_looked_at_again_for_those_who_take_over() -> None:
    """A host that had room for its own share, but not for that of a host left out, is found out before the start."""
    room = room_needed(PLAN, PLAN.hosts[0], ())
    free = {"output_free": int(1.5 * (room.train + room.holdout))}
    three = plan_of((*HOSTS, Host(name="gamma", ranks=2)))
    surveys = {"alpha": Silence("SSH", "alpha: no route"), "beta": answer_of(**free), "gamma": answer_of()}
    plan, checks = take_stock(three, surveys, {}, skip_unready=True)
    assert [host.name for host in plan.present] == ["beta", "gamma"]
    two = {"alpha": surveys["alpha"], "beta": surveys["beta"]}
    plan, checks = take_stock(PLAN, two, {}, skip_unready=True)
    with pytest.raises(NotReadyError, match=r"alpha: no route\n  beta: about .* needed"):
        require_ready(plan, checks)


def test_hosts_with_the_same_to_say_share_a_line() -> None:
    """Hundreds of hosts that are alike do not fill the screen."""
    hosts = tuple(Host(name=f"gpu{number}", ranks=2) for number in range(256))
    plan, checks = take_stock(plan_of(hosts), {host.name: answer_of(cores=1) for host in hosts}, {})
    assert notes(plan, checks) == [
        "gpu0, gpu1, gpu2 and 253 more hosts: 2 ranks on 1 cores: more than one rank a core gives no more speed"
    ]
