"""provision/settle.py: what the exit code of a run is."""

import pytest

from provision.monitor import ClusterState
from provision.settle import Answers, exit_code
from shard.progress import HostDone, UnitsKept
from tests.support.plans import plan_of

QUIET = Answers({}, {}, frozenset({"alpha", "beta"}))
RUNNING = Answers({"beta": ["12 python -m shard rank"]}, {}, frozenset({"alpha"}))
SILENT = Answers({}, {"beta": "beta: no route"}, frozenset({"alpha"}))


def state_of(*, complete: bool) -> ClusterState:
    state = ClusterState(plan_of())
    if complete:
        state.apply(
            UnitsKept(
                host="alpha", units=[(0, 6)], documents=1, holdout_documents=0, tokens=1, holdout_tokens=0, dropped=0
            ),
            0.0,
        )
        for host in ("alpha", "beta"):
            state.apply(HostDone(host=host, outcome="complete", units_done=3, units=3, quarantined=[]), 0.0)
    return state


@pytest.mark.parametrize(
    ("complete", "answers", "stopped", "expected"),
    [
        (True, QUIET, False, 0),
        (True, QUIET, True, 0),
        (False, QUIET, False, 1),
        (False, QUIET, True, 130),
        (False, RUNNING, True, 3),
        (False, SILENT, True, 3),
        (True, RUNNING, False, 3),
        (False, SILENT, False, 3),
    ],
)
def test_exit_code(complete: bool, answers: Answers, stopped: bool, expected: int) -> None:
    """0 complete, 130 stopped, 1 something is missing; 3 whenever a host is not shown to be quiet."""
    assert exit_code(state_of(complete=complete), answers, stopped=stopped) == expected


def test_unproven_names_hosts_once() -> None:
    """Hosts that run something and hosts that do not answer are named together, sorted."""
    answers = Answers({"c": ["1 x"], "a": ["2 y"]}, {"b": "gone"}, frozenset())
    assert answers.unproven == ["a", "b", "c"]
    assert not answers.proven
