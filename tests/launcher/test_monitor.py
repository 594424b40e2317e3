"""provision/run/monitor.py: events → what is known of the cluster."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from provision.hosts import Host
from provision.plan.ledger import Entry
from provision.reach.pdsh import LogLine
from provision.run.monitor import ClusterState
from shard.records.progress import (
    AnyEvent,
    HostDone,
    HostIdle,
    HostStarted,
    HostStopping,
    Note,
    Progress,
    RankExited,
    UnitDone,
    UnitFailed,
    UnitsKept,
    UnitsMoved,
    ranges_of,
)
from tests.support.plans import plan_of


def started(host: str = "alpha") -> HostStarted:
    return HostStarted(host=host, run_id="r", pid=1, ranks=2, units=3)


def done(unit: int, host: str = "alpha", **fields: int) -> UnitDone:
    figures = {"row_start": 0, "row_end": 12, "file_rows": 12, "documents": 9, "holdout_documents": 1, "tokens": 900}
    figures |= {"holdout_tokens": 100, "dropped": 2}
    return UnitDone(host=host, unit=unit, rank=0, text_bytes=16_000_000, seconds=1.0, **{**figures, **fields})


def kept(units: Sequence[int], host: str = "alpha") -> UnitsKept:
    return UnitsKept(host=host, units=[done(unit, host, documents=10, tokens=1000).counts for unit in units])


def progress(text_bytes: int, host: str = "alpha", tokens: int = 0) -> Progress:
    return Progress(
        host=host, units_done=0, units_failed=0, documents=5, tokens=tokens, text_bytes=text_bytes, retries=0,
        seconds=1.0, ranks=[],
    )  # fmt: skip


def complete(host: str) -> HostDone:
    return HostDone(host=host, outcome="complete", units_done=3, units=3, quarantined=[])


def idle(host: str = "alpha", requests: int = 0) -> HostIdle:
    return HostIdle(host=host, units_done=3, units=3, quarantined=[], requests=requests)


def moved(units: list[int], host: str) -> UnitsMoved:
    return UnitsMoved(host=host, units=ranges_of(units), why="a test")


def folded(*events: AnyEvent | LogLine | Sequence[object]) -> ClusterState:
    """Events, one a second from 0 on."""
    state = ClusterState(plan_of())
    for now, event in enumerate(events):
        state.apply(event, float(now))  # type: ignore[arg-type]
    return state


def test_units_done_and_kept_add_up() -> None:
    """Totals are those of committed units, finished now or by an earlier run; each unit counts once."""
    state = folded(started(), kept([0, 1]), done(2), done(3, "beta"))
    assert state.committed == {0: "alpha", 1: "alpha", 2: "alpha", 3: "beta"}
    assert (state.totals.documents, state.totals.tokens, state.totals.dropped) == (38, 3800, 8)
    assert (state.hosts["alpha"].units_done, state.hosts["beta"].units_done) == (3, 1)


def test_a_unit_reported_twice_counts_once_in_the_ledger() -> None:
    """A unit that is done and, by a restarted supervisor, kept as well is one unit of its host."""
    state = folded(started(), done(0), started(), kept([0]))
    assert state.committed == {0: "alpha"}
    assert state.hosts["alpha"].units_done == 1


def test_complete_needs_every_unit() -> None:
    """Whatever the hosts' last words are, a run is complete when every unit has been reported committed."""
    assert not folded(started(), started("beta"), complete("alpha"), complete("beta")).complete
    assert not folded(started(), kept(range(5))).complete
    assert folded(started(), kept(range(6))).complete


def test_a_failed_unit_is_told_and_a_quarantined_one_is_named() -> None:
    """An attempt that failed is a message; the last one puts the unit, with host and reason, among the quarantined."""
    first = UnitFailed(host="alpha", unit=4, rank=1, attempt=1, quarantined=False, reason="cut off")
    last = UnitFailed(host="alpha", unit=4, rank=1, attempt=2, quarantined=True, reason="cut off again")
    state = folded(started(), first, last)
    assert state.quarantined == {4: ("alpha", "cut off again")}
    assert state.hosts["alpha"].errors == 2
    assert "data/000004.parquet" in state.messages[0]
    assert "to be tried again" in state.messages[0]
    assert "given up" in state.messages[1]


def test_a_unit_done_after_all_is_not_quarantined() -> None:
    """A unit that another start of the run finishes is no longer among the quarantined."""
    state = folded(UnitFailed(host="alpha", unit=4, rank=1, attempt=3, quarantined=True, reason="x"), done(4))
    assert state.quarantined == {}


def test_rates_are_over_the_last_half_minute() -> None:
    """A host's rate is what it has done between the oldest and the latest of its recent progress events."""
    state = folded(progress(0), progress(10_000_000, tokens=100), progress(40_000_000, tokens=400))
    assert state.hosts["alpha"].rate() == (20_000_000, 200)


def test_a_host_that_has_ended_has_no_rate() -> None:
    """Once a host has said its last word nothing more comes from it."""
    assert folded(progress(0), progress(10), complete("alpha")).hosts["alpha"].rate() == (0.0, 0.0)


def test_time_left_needs_a_rate() -> None:
    """Without a rate there is no estimate; with one it is the text still to come over the rate."""
    assert folded(started()).seconds_left() is None
    state = folded(progress(0), progress(8_000_000))
    expected = (60 * 2**20 * 1.6 - 8_000_000) / 8_000_000
    assert state.seconds_left() == pytest.approx(expected)


def test_phases_follow_the_host() -> None:
    """A host waits, runs, stops, and ends as it says."""
    state = folded()
    assert state.hosts["alpha"].phase == "waiting"
    for event, phase in (
        (started(), "running"),
        (HostStopping(host="alpha", reason="SIGTERM"), "stopping"),
        (HostDone(host="alpha", outcome="stopped", units_done=0, units=3, quarantined=[], reason="SIGTERM"), "stopped"),
    ):
        state.apply(event, 1.0)
        assert state.hosts["alpha"].phase == phase
    assert [host.name for host in state.unfinished()] == ["alpha", "beta"]


def test_a_host_that_runs_nothing_and_said_nothing_is_lost() -> None:
    """Of hosts on which nothing runs, one without a last word is lost; one with it is not."""
    state = folded(started(), started("beta"), complete("beta"))
    state.lose({"alpha", "beta"})
    assert (state.hosts["alpha"].phase, state.hosts["beta"].phase) == ("lost", "complete")


def test_a_host_that_idles_is_done_when_it_is_quiet() -> None:
    """Nothing was left to do there: it has not been lost, it has been let go."""
    state = folded(started(), idle())
    state.lose({"alpha"})
    assert state.hosts["alpha"].phase == "complete"


def test_units_move() -> None:
    """A unit that moves is another host's to do; the host that takes it is at work again; what is committed stays."""
    state = folded(started(), started("beta"), done(0), idle("beta"), moved([0, 2], "beta"))
    assert (state.hosts["alpha"].todo, state.hosts["alpha"].gone) == ({4}, {2})
    assert (state.hosts["beta"].todo, state.hosts["beta"].phase) == ({1, 2, 3, 5}, "running")


def test_idleness_from_before_a_move_is_not_believed() -> None:
    """A host's word that it has nothing left counts only if it knew of all that it was given."""
    state = folded(started("beta"), moved([0], "beta"), idle("beta", requests=0))
    assert state.hosts["beta"].phase == "running"
    state.apply(idle("beta", requests=1), 9.0)
    assert state.hosts["beta"].phase == "idle"


def test_a_host_may_be_done_before_it_is_known_to_have_begun() -> None:
    """What was given may be done, and said to be, before the request is answered: the host is idle then, too."""
    state = folded(started("beta"), idle("beta"), done(0, "beta"), idle("beta", requests=1), moved([0], "beta"))
    assert (state.hosts["beta"].phase, state.hosts["beta"].todo) == ("idle", {1, 3, 5})
    assert state.hosts["alpha"].gone == {0}


def test_a_unit_done_twice_is_the_first_ones() -> None:
    """A host that was cut off may finish what was given to another: it counts once, where it was heard of first."""
    state = folded(started(), started("beta"), moved([0], "beta"), done(0, "beta"), done(0, "alpha"))
    assert (state.committed, state.totals.documents) == ({0: "beta"}, 9)
    assert state.hosts["alpha"].units_done == 0


def test_released_units_are_nobodys() -> None:
    """What a host gives up it does not do, and no other host does until it is given to one."""
    state = folded(started())
    state.release("alpha", [2, 4])
    assert (state.hosts["alpha"].todo, state.unowned, state.hosts["alpha"].requests) == ({0}, {2, 4}, 1)
    state.apply(moved([4], "beta"), 1.0)
    assert (state.unowned, state.hosts["beta"].todo) == ({2}, {1, 3, 4, 5})


def test_a_host_that_starts_again_tries_again() -> None:
    """What it had put aside is among what it is to do."""
    state = folded(started(), UnitFailed(host="alpha", unit=4, rank=1, attempt=3, quarantined=True, reason="x"))
    assert (state.hosts["alpha"].todo, state.hosts["alpha"].units_failed) == ({0, 2}, 1)
    state.apply(started(), 2.0)
    assert (state.hosts["alpha"].todo, state.hosts["alpha"].units_failed, state.quarantined) == ({0, 2, 4}, 0, {})


@pytest.mark.parametrize(
    ("line", "gone"),
    [
        ("pdsh@here: alpha: ssh exited with exit code 255", True),
        ("pdsh@here: alpha: sh killed by signal 9", True),
        ("pdsh@here: gamma: ssh exited with exit code 255", False),
        ("somebody says pdsh@here: alpha: ssh exited with exit code 255", False),
    ],
)
def test_pdsh_says_when_a_host_has_hung_up(line: str, gone: bool) -> None:
    """The end of what connects a host is known from pdsh's own line, until the host speaks as a new start."""
    state = folded(started(), LogLine(None, line))
    assert state.hosts["alpha"].hung_up == gone
    state.apply(started(), 5.0)
    assert not state.hosts["alpha"].hung_up


def test_pdsh_leaves_out_a_domain() -> None:
    """Hosts of one domain are called by their first word; a word that could mean two of them means none."""
    hosts = [Host(name=name, ranks=1) for name in ("n1.lan", "n2.lan", "n2.wan")]
    state = ClusterState(plan_of(hosts))
    for label in ("n1", "n2"):
        state.apply(LogLine(None, f"pdsh@here: {label}: ssh exited with exit code 255"), 1.0)
    assert [host.name for host in state.hosts.values() if host.hung_up] == ["n1.lan"]


def test_absent_hosts_have_what_the_ledger_knows() -> None:
    """A host that takes no part still has what it had committed."""
    plan = plan_of()
    alpha, beta = plan.hosts
    plan = replace(plan, hosts=(alpha, replace(beta, absent=True)))
    ledger = {unit: Entry("beta", done(unit, "beta").counts) for unit in beta.units}
    state = ClusterState(plan, ledger)
    assert state.committed == dict.fromkeys(beta.units, "beta")
    assert state.hosts["beta"].phase == "absent"


def test_log_lines_notes_and_crashes_are_messages() -> None:
    """What is no event is shown as it came, with the host where pdsh named it."""
    state = folded(
        LogLine("alpha", "Connection closed"),
        LogLine(None, "pdsh: no such thing"),
        Note(host="beta", text="slow engine"),
        RankExited(host="beta", rank=3, how="killed by SIGKILL", restarted=True),
    )
    assert list(state.messages) == [
        "alpha: Connection closed",
        "pdsh: no such thing",
        "beta: slow engine",
        "beta: rank 3 killed by SIGKILL; started again",
    ]


def test_control_characters_of_log_lines_are_not_obeyed() -> None:
    """What a host prints cannot move the cursor of the launcher's terminal, or colour it."""
    state = folded(LogLine("alpha", "\x1b[2J\x1b]0;title\x07 banner\r"))
    assert state.messages[0] == "alpha:  [2J ]0;title  banner "


def test_an_event_of_no_host_of_the_plan_changes_nothing() -> None:
    """A line that claims to be of another host is passed over."""
    assert folded(done(0, "gamma")).committed == {}
