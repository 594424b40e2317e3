"""provision/run/balance.py: which host does what next."""

from typing import Any

import pytest
from msgspec.structs import replace

from provision.hosts import Host
from provision.plan.plan import Policy
from provision.run.balance import Give, Lose, Probe, Revive, Shift, finished, free_units, next_steps
from provision.run.monitor import ClusterState
from shard.records.progress import HostDone, HostIdle, HostStarted, Progress, UnitDone
from tests.support.plans import MIB, plan_of, source_files

HOSTS = ("alpha", "beta", "gamma")
UNITS = 30


def cluster(**policy: Any) -> ClusterState:
    """Three hosts at work since time 0, thirty units of 10 MiB, ten for each."""
    hosts = [Host(name=name, ranks=1) for name in HOSTS]
    state = ClusterState(plan_of(hosts, files=source_files(*[10 * MIB] * UNITS), policy=Policy(**policy)))
    state.begin(0.0)
    for name in HOSTS:
        state.apply(HostStarted(host=name, run_id="r", pid=1, ranks=1, units=10, place=name), 0.0)
    return state


def heard(state: ClusterState, now: float, *names: str, rate: float = 16e6, pending: int = 8) -> None:
    """Two progress events of each host, the second at `now`, that make this rate of text."""
    for name in names:
        for seconds in (now - 10, now):
            state.apply(
                Progress(
                    host=name, units_done=0, units_failed=0, pending=pending, documents=0, tokens=0,
                    text_bytes=int(rate * seconds), retries=0, seconds=seconds, ranks=[],
                ),
                seconds,
            )  # fmt: skip


def finish(state: ClusterState, name: str, now: float, *, but: int = 0, text: int = 16 * MIB) -> None:
    """A host commits all its units but some, and says that it has nothing left if there are none."""
    for ordinal in sorted(state.hosts[name].todo)[: len(state.hosts[name].todo) - but]:
        figures = dict.fromkeys(("documents", "holdout_documents", "tokens", "holdout_tokens", "dropped"), 0)
        state.apply(
            UnitDone(
                host=name, unit=ordinal, rank=0, row_start=0, row_end=0, file_rows=0, text_bytes=text, seconds=1.0,
                **figures,
            ),
            now,
        )  # fmt: skip
    if not but:
        requests = state.hosts[name].requests
        state.apply(HostIdle(host=name, units_done=10, units=10, quarantined=[], requests=requests), now)


def test_a_cluster_at_work_is_left_alone() -> None:
    """While all hosts are heard and none is done there is nothing to do."""
    state = cluster()
    heard(state, 20.0, *HOSTS)
    assert next_steps(state, 21.0) == []
    assert not finished(state, set())


def test_files_without_any_text() -> None:
    """Units of no row and no byte of text say nothing of speeds, and are no obstacle to evening them out."""
    state = cluster()
    finish(state, "alpha", 20.0, text=0)
    heard(state, 20.0, "beta", "gamma")
    assert [type(step) for step in next_steps(state, 21.0)] == [Shift]


def test_silence_is_looked_into_and_then_believed() -> None:
    """A silent host is probed after half the time, lost after all of it if it cannot be reached, and restarted if it
    can."""
    state = cluster(lost_seconds=40.0)
    heard(state, 20.0, *HOSTS)
    heard(state, 55.0, "beta", "gamma")
    assert next_steps(state, 39.0) == []
    assert next_steps(state, 41.0) == [Probe("alpha")]
    assert next_steps(state, 41.0, busy={"alpha"}) == []
    assert [type(step) for step in next_steps(state, 61.0)] == [Revive]
    state.hosts["alpha"].unreachable = True
    assert next_steps(state, 41.0) == []
    (lost,) = next_steps(state, 61.0)
    assert isinstance(lost, Lose)
    assert (lost.host, "cannot be reached" in lost.reason) == ("alpha", True)


def test_a_host_that_hangs_up_is_started_again_a_few_times() -> None:
    """An ended connection is answered at once by a new start, and given up when that does not help."""
    state = cluster()
    heard(state, 20.0, *HOSTS)
    state.hosts["beta"].hung_up = True
    assert [type(step) for step in next_steps(state, 20.5, restarts={"beta": 2})] == [Revive]
    assert [type(step) for step in next_steps(state, 20.5, restarts={"beta": 3})] == [Lose]


def test_a_host_that_stopped_by_itself_is_started_again() -> None:
    """A host whose lease ran out, or that somebody there has stopped, is no failed host: it keeps its units and is
    started again; when the run is being stopped it is an end."""
    state = cluster()
    heard(state, 20.0, *HOSTS)
    finish(state, "beta", 20.0)
    finish(state, "gamma", 20.0)
    reason = "not heard from the launcher for 900 s"
    last = HostDone(host="alpha", outcome="stopped", units_done=0, units=10, quarantined=[], reason=reason)
    state.apply(last, 21.0)
    assert next_steps(state, 21.5) == [Revive("alpha", reason)]
    assert not finished(state, set())
    assert finished(state, set(), stopping=True)
    assert [type(step) for step in next_steps(state, 21.5, restarts={"alpha": 3})] == [Lose]


@pytest.mark.parametrize("phase", ["lost", "failed", "incomplete"])
def test_units_of_a_host_that_is_out_go_to_the_others(phase: str) -> None:
    """What it has not committed is shared among those at work, evenly; what it has committed stays its own."""
    state = cluster()
    heard(state, 20.0, *HOSTS)
    finish(state, "alpha", 20.0, but=6)
    theirs = set(state.hosts["alpha"].todo)
    state.hosts["alpha"].phase = phase
    gives = [step for step in next_steps(state, 21.0, busy={"alpha"}) if isinstance(step, Give)]
    assert theirs == {unit for give in gives for unit in give.units}
    assert {give.host: len(give.units) for give in gives} == {"beta": 3, "gamma": 3}
    assert all("alpha" in give.why for give in gives)


def test_what_is_on_its_way_is_not_given_twice() -> None:
    """A unit that one host is just being told to do is not given to another."""
    state = cluster()
    heard(state, 20.0, *HOSTS)
    finish(state, "gamma", 20.0)
    state.hosts["alpha"].phase = "lost"
    (first, *_) = gives = [step for step in next_steps(state, 21.0, busy={"alpha"}) if isinstance(step, Give)]
    promised = {unit for give in gives for unit in give.units}
    assert first.units
    assert next_steps(state, 21.5, busy={"alpha", "beta"}, promised=promised) == []


def test_a_host_that_does_not_answer_can_be_lost() -> None:
    """A request that is still to be answered keeps a host from another one, not from being taken for lost."""
    state = cluster(lost_seconds=40.0)
    heard(state, 20.0, *HOSTS)
    heard(state, 60.0, "beta", "gamma")
    finish(state, "beta", 60.0)
    state.hosts["alpha"].unreachable = True
    assert [type(step) for step in next_steps(state, 61.0, asked=HOSTS)] == [Lose]
    assert [type(step) for step in next_steps(state, 61.0, asked=HOSTS, resting=HOSTS)] == [Lose]
    assert [type(step) for step in next_steps(state, 61.0, asked=HOSTS, busy=HOSTS)] == [Lose]


@pytest.mark.parametrize("policy", ["wait", "abort"])
def test_other_policies_leave_them(policy: str) -> None:
    """Units of a lost host are not given away when it is waited for, or the run is to stop."""
    state = cluster(on_host_failure=policy)
    heard(state, 20.0, *HOSTS)
    state.hosts["alpha"].phase = "lost"
    assert free_units(state) == []
    assert not any(isinstance(step, Give) for step in next_steps(state, 21.0))


def test_a_slow_host_gives_up_what_evens_out() -> None:
    """When a host is done, the one furthest behind gives up what both would then need equally long for."""
    state = cluster()
    heard(state, 20.0, "alpha", "beta")
    heard(state, 20.0, "gamma", rate=1.6e6)
    finish(state, "alpha", 20.5)
    (shift,) = next_steps(state, 21.0)
    assert isinstance(shift, Shift)
    assert shift.host == "gamma"
    # Eight of ten units are not begun, and alpha is ten times as fast.
    assert shift.bytes == pytest.approx(80 * MIB * 10 / 11, rel=0.01)


def test_without_rebalancing_only_what_nobody_does_moves() -> None:
    """--no-rebalance keeps the plan, but for hosts that are out."""
    state = cluster(rebalance=False)
    heard(state, 20.0, "alpha", "beta")
    heard(state, 20.0, "gamma", rate=1.6e6)
    finish(state, "alpha", 20.5)
    assert next_steps(state, 21.0) == []
    state.hosts["gamma"].phase = "failed"
    (give,) = next_steps(state, 21.0)
    assert isinstance(give, Give)
    assert (give.host, set(give.units)) == ("alpha", state.hosts["gamma"].todo)


def test_a_little_work_is_not_worth_moving() -> None:
    """What a host will have begun in a moment is left to it."""
    state = cluster()
    heard(state, 20.0, *HOSTS, rate=1e9)
    finish(state, "alpha", 20.5)
    assert next_steps(state, 21.0) == []


def test_released_units_go_to_the_host_that_is_done() -> None:
    """What a slow host gave up is given to the one that waits, not back."""
    state = cluster()
    heard(state, 20.0, "alpha", "beta")
    heard(state, 20.0, "gamma", rate=1.6e6)
    finish(state, "alpha", 20.5)
    released = sorted(state.hosts["gamma"].todo)[-3:]
    state.release("gamma", released)
    gives = [step for step in next_steps(state, 21.0, busy={"gamma"}) if isinstance(step, Give)]
    assert [(give.host, list(give.units)) for give in gives] == [("alpha", released)]


def test_what_got_lost_between_two_hosts_is_given_again() -> None:
    """A unit that its owner, idle, does not know of belongs to nobody under any policy."""
    state = cluster(on_host_failure="wait")
    heard(state, 20.0, *HOSTS)
    finish(state, "alpha", 20.5, but=1)
    (forgotten,) = state.hosts["alpha"].todo
    state.apply(HostIdle(host="alpha", units_done=9, units=9, quarantined=[], requests=0), 20.6)
    assert free_units(state) == [forgotten]


def test_the_end() -> None:
    """A run is over when all hosts have ended or wait, nothing is under way, and nothing is left to give."""
    state = cluster()
    heard(state, 20.0, *HOSTS)
    for name in HOSTS:
        assert not finished(state, set())
        finish(state, name, 21.0)
    assert finished(state, set())
    assert not finished(state, {"alpha"})


def test_the_end_does_not_wait_for_a_lost_host() -> None:
    """Attempts to reach a host that is out of the run do not hold up its end."""
    state = cluster()
    heard(state, 20.0, *HOSTS)
    state.hosts["alpha"].phase = "lost"
    for give in next_steps(state, 21.0, busy={"alpha"}):
        assert isinstance(give, Give)
        for ordinal in give.units:
            state.hosts["alpha"].todo.discard(ordinal)
            state.hosts[give.host].todo.add(ordinal)
            state.owner[ordinal] = give.host
    finish(state, "beta", 22.0)
    finish(state, "gamma", 22.0)
    assert finished(state, {"alpha"})


def test_waiting_for_a_lost_host() -> None:
    """With --on-host-failure wait a run is not over while a lost host has units to do."""
    state = cluster(on_host_failure="wait")
    heard(state, 20.0, *HOSTS)
    finish(state, "beta", 21.0)
    finish(state, "gamma", 21.0)
    state.hosts["alpha"].phase = "lost"
    assert not finished(state, set())
    finish(state, "alpha", 22.0)
    assert finished(state, set())


def test_nobody_left_to_give_to_is_the_end() -> None:
    """When the last host fails, what is left is for the next launch."""
    state = cluster()
    for name, host in state.hosts.items():
        assert not finished(state, set())
        state.apply(HostDone(host=name, outcome="failed", units_done=0, units=len(host.todo), quarantined=[]), 1.0)
    assert finished(state, set())


def test_an_absent_host_is_no_trouble() -> None:
    """A host that takes no part is neither probed nor waited for."""
    plan = cluster().plan
    alpha, beta, gamma = plan.hosts
    state = ClusterState(replace(plan, hosts=(replace(alpha, absent=True, units=()), beta, gamma)))
    state.begin(0.0)
    assert next_steps(state, 10.0) == []
    assert all(step.host != "alpha" for step in next_steps(state, 1000.0))
