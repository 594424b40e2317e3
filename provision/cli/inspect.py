"""status, abort, verify: the commands for a run that exists."""

import json
import os
import sys
import time
from pathlib import Path

import click
import msgspec
from rich.console import Console

from provision.display import clock, dashboard
from provision.errors import InputError, NotProvenStoppedError
from provision.monitor import run_done
from provision.report import verification
from provision.rundir import find_run
from provision.settle import left_on_hosts, stop_hosts
from provision.verify_run import verify_run
from provision.watch import replay
from shard.records import DIRECTORY_FILE
from shard.verify.report import Report
from shard.verify.stores import verify as verify_directories

_LAUNCHER_ENDS_SECONDS = 10.0


@click.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(run: str, as_json: bool) -> None:
    """Show how far RUN is: a run directory, or a run id under runs/."""
    directory = find_run(run)
    answers = left_on_hosts(directory, directory.read_plan())
    # Read after the hosts were asked: who runs nothing any more has said so by now, or never will.
    state = replay(directory)
    state.lose(answers.quiet)
    if as_json:
        facts = run_done(state, exit_code=-1, left=answers.left, unproven=answers.unproven)
        del facts["exit_code"]
        click.echo(json.dumps({**facts, "event": "status", "silent": dict(answers.silent)}))
        return
    Console().print(dashboard(state, 0.0))
    for host in state.hosts.values():
        running = f"{len(answers.left.get(host.name, []))} processes running"
        heard = f"last heard {clock(time.time() - host.last_heard)} ago" if host.last_heard else "never heard"
        click.echo(f"{host.name}: {host.phase}, {answers.silent.get(host.name, running)}, {heard}")


@click.command()
@click.argument("run")
@click.option("--now", is_flag=True, help="No grace: kill at once.")
def abort(run: str, now: bool) -> None:
    """Stop RUN on every host, and show that nothing of it is left.

    Exit code 0 when that is shown, 3 with the hosts named when it is not.
    """
    directory = find_run(run)
    plan = directory.read_plan()
    directory.aborted.touch()
    answers = stop_hosts(directory, plan, now=now)
    if answers.proven and not directory.wait_until_ended(_LAUNCHER_ENDS_SECONDS):
        # Its launcher may just have been starting the hosts when they were asked.
        answers = stop_hosts(directory, plan, now=now)
    for name, commands in answers.left.items():
        click.echo(f"{name}: still running: {'; '.join(commands)}", err=True)
    for reason in answers.silent.values():
        click.echo(reason, err=True)
    if not answers.proven:
        raise NotProvenStoppedError(f"not shown to be quiet: {', '.join(answers.unproven)}")
    click.echo(f"run {plan.run_id}: no process is left on {len(plan.hosts)} hosts")


@click.command()
@click.argument("targets", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="The whole report as one JSON object.")
def verify(targets: tuple[str, ...], as_json: bool) -> None:
    """Check shards against their records, and prove that every source row is there exactly once.

    TARGETS are output directories on this machine, or one run (its directory or id), which is checked on all its
    hosts.
    """
    report, problems = _report(targets)
    whole = len(targets) == 1 and not _is_directory_of_shards(targets[0])
    complete = report.coverage.complete or not whole
    code = 0 if report.ok and complete and not problems else 1
    if as_json:
        click.echo(msgspec.json.encode({"report": report, "problems": problems, "exit_code": code}))
    else:
        Console().print(verification(report, problems, of_run=whole))
    sys.exit(code)


def _report(targets: tuple[str, ...]) -> tuple[Report, list[str]]:
    if all(_is_directory_of_shards(target) for target in targets) or len(targets) > 1:
        return verify_directories([Path(target) for target in targets]), []
    try:
        run = find_run(targets[0])
    except InputError as error:
        raise InputError(f"{error}, and no directory of shards (no {DIRECTORY_FILE} in it)") from error
    return verify_run(run)


def _is_directory_of_shards(target: str) -> bool:
    # Not Path.exists(), which raises for a name that is too long.
    return os.path.exists(os.path.join(target, DIRECTORY_FILE))  # noqa: PTH110, PTH118
