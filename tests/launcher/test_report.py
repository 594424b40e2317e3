"""provision/finish/report.py: a plan and an ending in words and figures."""

import io
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console, RenderableType

from provision.finish.report import checks_table, plan_table, summary
from provision.hosts import Host
from provision.plan.estimates import disk_needed
from provision.plan.plan import Leftovers, Plan
from provision.plan.rundir import RunDirectory
from provision.prepare.preflight import take_stock
from provision.prepare.survey import Answer, Silence
from provision.reach.settle import Answers
from provision.run.monitor import ClusterState
from shard.records.hub import HubAnswer
from shard.records.progress import HostDone, UnitCounts, UnitFailed, UnitsKept
from tests.support.jobs import rank_spec
from tests.support.plans import MIB, plan_of, source_files
from tests.support.surveys import answer_of

HOSTS = (Host(name="alpha", ranks=2), Host(name="beta", ranks=2))
QUIET = Answers({}, {}, frozenset({"alpha", "beta"}))


def drawn(what: RenderableType, width: int = 160) -> str:
    output = io.StringIO()
    Console(file=output, width=width).print(what)
    return output.getvalue()


def free(size: int) -> Answer:
    return answer_of(output_free=size, holdout_free=size)


def ended(tmp_path: Path, *, code: int, answers: Answers = QUIET, stopped_for: str = "") -> str:
    state = ClusterState(plan_of(HOSTS))
    # Unit, rows, rows of the file; documents, held out; tokens, held out; dropped.
    kept = [
        UnitCounts(0, 0, 9, 9, 1000, 10, 50_000, 500, 7),
        *(UnitCounts(n, 0, 9, 9, 0, 0, 0, 0, 0) for n in (1, 2, 3)),
    ]
    state.apply(UnitsKept(host="alpha", units=kept), 0.0)
    reason = "team/x: truncated"
    state.apply(UnitFailed(host="beta", unit=4, rank=2, attempt=3, quarantined=True, reason=reason), 0.0)
    state.apply(HostDone(host="alpha", outcome="complete", units_done=3, units=3, quarantined=[]), 0.0)
    state.apply(HostDone(host="beta", outcome="failed", units_done=1, units=3, quarantined=[4], reason="a [b] c"), 0.0)
    return drawn(summary(RunDirectory(tmp_path / "run"), state, answers, code, reason=stopped_for))


def test_plan_shows_every_host_and_the_rule() -> None:
    """Units, bytes, disk, room and time of each host, and the threshold by which files were cut."""
    plan = plan_of(HOSTS, files=source_files(*[100 * MIB] * 10, 600 * MIB))
    text = drawn(plan_table(plan, {"alpha": free(5 * 10**9), "beta": Silence("SSH", "beta: gone")}))
    assert all(word in text for word in ("alpha", "beta", "0–1", "2–3", "5.0 GB", "unknown", plan.run_id))
    assert "Files over 256 MiB are cut" in text
    assert "3 of 13 units are such parts (largest file 629.1 MB)" in text


def test_few_units_for_many_ranks_is_told() -> None:
    """A plan whose ranks have hardly a unit each says how to have more."""
    advice = "a smaller --unit-size balances better"
    assert advice in drawn(plan_table(plan_of(HOSTS), {}), width=300)
    assert advice not in drawn(plan_table(plan_of(HOSTS, files=source_files(*[MIB] * 50)), {}), width=300)
    one = (Host(name="alpha", ranks=1),)
    assert advice not in drawn(plan_table(plan_of(one, files=source_files(MIB)), {}), width=300)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_plan_fits_its_terminal(width: int) -> None:
    """No line of the table is longer than the terminal."""
    text = drawn(plan_table(plan_of(HOSTS), {"alpha": free(10**12), "beta": free(10**9)}), width)
    assert max(map(len, text.splitlines())) <= width


def test_checks_are_shown_for_every_host() -> None:
    """A host's row has a cell for each check, with a mark where there is something to note, and where it failed."""
    surveys = {"alpha": answer_of(cores=1, hub=HubAnswer(outcome="unreachable")), "beta": Silence("host key", "why")}
    plan, checks = take_stock(plan_of(HOSTS), surveys, {})
    rows = {line.split()[0]: line for line in drawn(checks_table(plan, checks)).splitlines()}
    assert rows["host"].split() == [
        *("host", "SSH", "key", "in", "Python", "version", "shards", "GB", "Hub", "clock", "files", "runs", "cores"),
    ]
    assert rows["alpha"].split()[-1] == "!"
    assert " no ✗ " in rows["alpha"]
    assert rows["beta"].split() == ["beta", "ok", "no", "✗"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_checks_fit_their_terminal(width: int) -> None:
    """No line of the table is longer than the terminal, and on 80 columns each host has one line."""
    surveys = {host.name: answer_of(output_free=10**13) for host in HOSTS}
    text = drawn(checks_table(*take_stock(plan_of(HOSTS), surveys, {})), width)
    assert max(map(len, text.splitlines())) <= width
    assert width < 80 or len(text.splitlines()) == 5


def test_disk_follows_the_width_of_tokens() -> None:
    """A vocabulary of four-byte ids needs more room than one of two, and bytes more than either."""

    def need(plan: Plan) -> int:
        return disk_needed(plan, 10**9)

    narrow, wide = plan_of(HOSTS, tokenizer=rank_spec("r50k_base")), plan_of(HOSTS, tokenizer=rank_spec("cl100k_base"))
    assert need(narrow) < need(wide) < need(plan_of(HOSTS))


def test_ending_with_something_missing(tmp_path: Path) -> None:
    """Totals, the units given up with their reason, hosts that failed, where to look, and what to do."""
    text = ended(tmp_path, code=1)
    for part in (
        "4 of 6 units committed: 1,000 documents, 50,000 tokens in train; 10 documents, 500 tokens in holdout; 7 rows",
        "given up: unit 4 (data/000004.parquet) on beta: team/x: truncated",
        "beta: failed (a [b] c)",
        "launch again to continue",
    ):
        assert part in text.replace("\n", " ")
    assert "alpha: complete" not in text and "stopped:" not in text


def test_ending_when_only_damaged_files_are_left(tmp_path: Path) -> None:
    """Where all that is missing was given up, launching again is said to want mended files first."""
    state = ClusterState(plan_of(HOSTS))
    kept = [UnitCounts(n, 0, 9, 9, 0, 0, 0, 0, 0) for n in (0, 1, 2, 3, 5)]
    state.apply(UnitsKept(host="alpha", units=kept), 0.0)
    state.apply(UnitFailed(host="beta", unit=4, rank=2, attempt=3, quarantined=True, reason="truncated"), 0.0)
    said = drawn(summary(RunDirectory(tmp_path / "run"), state, QUIET, 1), 300)
    assert "when the files that were given up are mended, launch again to continue" in said
    assert "are mended" not in ended(tmp_path, code=1)


def test_ending_that_the_launcher_brought_about(tmp_path: Path) -> None:
    """Why the launcher stopped the run by itself is told, and not why a unit was given up."""
    assert "\nstopped: beta lost: silent\n" in ended(tmp_path, code=1, stopped_for="beta lost: silent")


def test_ending_of_a_run_that_copies(tmp_path: Path) -> None:
    """Who is to go on with what is left of duplicates is told the command that does."""
    gone = Leftovers(fingerprint="0" * 64, lists_sha256="0" * 64, directories={})
    state = ClusterState(replace(plan_of(HOSTS), leftovers=gone))
    for code in (1, 130):
        said = drawn(summary(RunDirectory(tmp_path / "run"), state, QUIET, code), 300)
        assert "dedup again to continue" in said.lower()


@pytest.mark.parametrize(
    ("code", "words"), [(0, "complete; no process of the run is left"), (130, "stopped; no process of the run is left")]
)
def test_endings(tmp_path: Path, code: int, words: str) -> None:
    """The last line says how it ended."""
    assert words in ended(tmp_path, code=code)


def test_ending_that_is_not_proven(tmp_path: Path) -> None:
    """Hosts with something left and hosts that did not answer are named, with what to try."""
    answers = Answers({"alpha": ["12 python -m shard rank"]}, {"beta": "beta: no route to host"}, frozenset())
    text = ended(tmp_path, code=3, answers=answers)
    for part in (
        "alpha: still running: 12 python -m shard rank",
        "not shown to be quiet: beta: no route to host",
        "NOT shown to be quiet: alpha, beta. Try 'shardfleet abort",
    ):
        assert part in text
