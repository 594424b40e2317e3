"""provision/reach/settle.py and the last words of a run: its exit code, and what is said of hosts that are silent."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from provision.finish.report import summary
from provision.hosts import Host
from provision.plan.rundir import RunDirectory
from provision.reach.settle import Answers, exit_code
from provision.run.monitor import ClusterState
from shard.records.options import Options
from shard.records.progress import UnitCounts, UnitsKept
from tests.support.plans import plan_of

QUIET = Answers({}, {}, frozenset({"alpha", "beta"}))
RUNNING = Answers({"beta": ["12 python -m shard rank"]}, {}, frozenset({"alpha"}))
SILENT = Answers({}, {"beta": "beta: no route"}, frozenset({"alpha"}))


@pytest.mark.parametrize(
    ("complete", "answers", "stopped", "reason", "expected"),
    [
        (True, QUIET, False, "", 0),
        (True, QUIET, True, "", 0),
        (False, QUIET, False, "", 1),
        (False, QUIET, True, "", 130),
        (False, QUIET, True, "beta lost", 1),
        (False, RUNNING, True, "", 3),
        (False, SILENT, True, "", 3),
        (False, SILENT, True, "beta lost", 3),
        (True, RUNNING, False, "", 3),
        (True, SILENT, False, "", 3),
        (False, SILENT, False, "", 3),
    ],
)
def test_exit_code(complete: bool, answers: Answers, stopped: bool, reason: str, expected: int) -> None:
    """0 complete, 130 stopped as asked, 1 something is missing; 3 whenever a host is not shown to be quiet."""
    assert exit_code(answers, complete=complete, stopped=stopped, reason=reason) == expected


def test_unproven_names_hosts_once() -> None:
    """Hosts that run something and hosts that do not answer are named together, sorted."""
    answers = Answers({"c": ["1 x"], "a": ["2 y"]}, {"b": "gone"}, frozenset())
    assert answers.unproven == ["a", "b", "c"]
    assert not answers.proven


def said(tmp_path: Path, options: Options, answers: Answers = SILENT, *, done: int = 6, reason: str = "") -> str:
    """The summary of a run over two hosts, of whose six units so many are done."""
    plan = plan_of([Host(name="alpha", ranks=2), Host(name="beta", ranks=2)], options=options)
    state = ClusterState(plan)
    units = [UnitCounts(unit, 0, 1, 1, 1, 0, 1, 0, 0) for unit in range(done)]
    state.apply(UnitsKept(host="alpha", units=units), 0.0)
    code = exit_code(answers, complete=state.complete, stopped=bool(reason), reason=reason)
    drawn = summary(RunDirectory(tmp_path / "run"), state, answers, code, notes=["a note"], reason=reason)
    output = io.StringIO()
    Console(file=output, width=1000).print(drawn)
    return output.getvalue()


def test_silent_host_ends_by_its_lease(tmp_path: Path) -> None:
    """When all is done without a host, the user reads when that host ends, and how it gets rid of what others did."""
    text = said(tmp_path, Options(lease_seconds=120.0))
    assert "without the word of beta, which stops itself when its lease of 120 s runs out; launch again" in text
    assert "NOT shown to be quiet: beta." in text
    assert "a note" in text


def test_silent_host_without_a_lease_goes_on(tmp_path: Path) -> None:
    """No end is promised for a host that was told to go on without a launcher."""
    for options in (Options(lease_seconds=120.0, on_disconnect="continue"), Options(lease_seconds=None)):
        assert "beta, which may go on until it is stopped" in said(tmp_path, options)


def test_nothing_is_promised_while_work_is_missing(tmp_path: Path) -> None:
    """A run with units missing, or with a host that still runs something, is not said to be done."""
    for answers, done in ((SILENT, 5), (RUNNING, 6)):
        assert "every unit is committed without" not in said(tmp_path, Options(), answers, done=done)


def test_reason_of_the_launcher_is_given(tmp_path: Path) -> None:
    """A run that the launcher stopped by itself says why."""
    text = said(tmp_path, Options(), QUIET, done=2, reason="beta lost: not heard (--on-host-failure abort)")
    assert "stopped: beta lost: not heard (--on-host-failure abort)" in text
    assert "launch again to continue" in text
