"""The end of a run, whoever sees it: how it went, told, and as an exit code."""

import json
import sys
from collections.abc import Sequence

from rich.console import Console

from provision.finish.bring import bring_for_run
from provision.finish.exports import export_for_run
from provision.finish.gather import gather, take_in
from provision.finish.report import summary
from provision.plan.rundir import RunDirectory
from provision.reach.settle import Answers, exit_code, stop_hosts
from provision.run.monitor import ClusterState, run_done
from provision.run.shows import print_line
from shard.records.manifest import MANIFEST_FILE


def conclude(run: RunDirectory, state: ClusterState, answers: Answers, *, stopped: bool, as_json: bool) -> int:
    """Say how a run has ended, as text or as the `run_done` object. Returns its exit code."""
    notes: list[str] = []
    complete = False

    def tell(text: str) -> None:
        if not as_json:
            print_line(text, sys.stdout)

    cut_short = stopped and not state.complete
    if not cut_short:  # who stops a run wants it to end, and starts it again before anybody needs its records
        gathered = gather(run, state.plan, without=answers.silent.keys())
        take_in(state, gathered)
        brought, told = bring_for_run(run, state.plan, gathered)
        complete = state.complete and gathered.complete and brought
        notes = [*gathered.notes, *told]
        if complete:
            exported = export_for_run(run, state.plan, gathered, tell)
            notes += exported.told
            if exported.failed:
                complete = False
                stopped = stopped or run.stopping.exists()
                answers = _without_exports(run, state, answers, exported.failed)
    state.lose(answers.quiet)
    reason = run.aborted.read_text().strip() if run.aborted.exists() else ""
    code = exit_code(answers, complete=complete, stopped=stopped, reason=reason)
    if as_json:
        manifest = None if cut_short else str(run.path / MANIFEST_FILE)
        facts = run_done(state, exit_code=code, left=answers.left, unproven=answers.unproven)
        last = json.dumps({**facts, "reason": reason, "notes": notes, "manifest": manifest})
    else:
        console = Console()
        with console.capture() as capture:
            console.print(summary(run, state, answers, code, notes=notes, reason=reason))
        last = capture.get().rstrip("\n")
    print_line(last, sys.stdout)
    return code


def _without_exports(run: RunDirectory, state: ClusterState, answers: Answers, failed: Sequence[str]) -> Answers:
    """What is left on the hosts, once exports whose end nobody has seen are stopped."""
    again = stop_hosts(run, state.plan, now=False, names=failed)
    quiet = answers.quiet.difference(failed) | again.quiet
    return Answers({**answers.left, **again.left}, {**answers.silent, **again.silent}, quiet)
