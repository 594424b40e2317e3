"""status, attach, abort, verify: the commands for a run that exists."""

import json
import os
import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console

from provision.cli.runs import require_one_style
from provision.errors import InputError, NotProvenStoppedError
from provision.finish.conclude import conclude
from provision.finish.report import verification
from provision.finish.verify_run import Verified, verify_run
from provision.plan.rundir import RunDirectory, find_run
from provision.reach.settle import stop_hosts
from provision.run.attach import attach as follow_run
from provision.run.monitor import run_done
from provision.run.shows import Style
from provision.run.sight import keep_ledger, look
from provision.run.standing import host_facts, standing
from shard.records.shards import DIRECTORY_FILE
from shard.verify.stores import verify as verify_directories

_LAUNCHER_ENDS_SECONDS = 10.0
_OTHERS_CONCLUDE_SECONDS = 120.0
"""How long another that is attached may take for the end of the run: two at once would hand out two manifests."""


@click.command(short_help="Show how far RUN is, as its hosts say.")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(run: str, as_json: bool) -> None:
    """Show how far RUN is: a run directory, or a run id under runs/.

    The hosts themselves are asked; what one has that gives no answer is what was known of it here.
    """
    directory = find_run(run)
    sight = look(directory)
    keep_ledger(directory, sight)
    if as_json:
        facts = run_done(sight.state, exit_code=-1, left=sight.answers.left, unproven=sight.answers.unproven)
        del facts["exit_code"]
        silent = dict(sight.answers.silent)
        click.echo(json.dumps({**facts, "event": "status", "silent": silent, "hosts": host_facts(sight)}))
        return
    Console().print(standing(sight))


@click.command(short_help="Show RUN at work, as `launch` does; change nothing.")
@click.argument("run")
@click.option("--plain", is_flag=True, help="Lines instead of the dashboard. [default when not on a terminal]")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON lines; the last is the run_done object.")
def attach(run: str, plain: bool, as_json: bool) -> None:
    """Show RUN at work, as `launch` does, from what has happened so far to its end. Changes nothing.

    Ctrl+C detaches: the run goes on, and the exit code is 0. At the end of the run it is the run's own.
    """
    require_one_style(plain, as_json)
    directory = find_run(run)
    style: Style = "json" if as_json else "live" if sys.stdout.isatty() and not plain else "plain"
    try:
        sight = follow_run(directory, sys.stdout, style)
    except KeyboardInterrupt:
        click.echo(f"detached: the run goes on; 'shardfleet attach {directory.path}' comes back to it", err=True)
        sys.stdout.flush()
        # Not sys.exit, which would wait for the threads that wait for hosts.
        os._exit(0)
    directory.wait_until_ended(_OTHERS_CONCLUDE_SECONDS)
    stopped = directory.aborted.exists() or directory.stopping.exists()
    with directory.not_running():
        code = conclude(directory, sight.state, sight.answers, stopped=stopped, as_json=as_json)
    sys.exit(code)


@click.command()
@click.argument("run")
@click.option("--now", is_flag=True, help="No grace: kill at once.")
def abort(run: str, now: bool) -> None:
    """Stop RUN on every host, and show that nothing of it is left.

    Exit code 0 when that is shown, 3 with the hosts named when it is not. It may be interrupted, and started again.
    """
    directory = find_run(run)
    plan = directory.read_plan()
    unmade = [directory.mark(directory.aborted)]
    try:
        answers = stop_hosts(directory, plan, now=now)
        if answers.proven and not directory.wait_until_ended(_LAUNCHER_ENDS_SECONDS):
            # Its launcher may just have been starting the hosts when they were asked.
            answers = stop_hosts(directory, plan, now=now)
    except KeyboardInterrupt:
        raise NotProvenStoppedError(
            f"interrupted before every host was shown to be quiet; 'shardfleet abort {run} --now' shows it"
        ) from None
    unmade.append(directory.mark(directory.stopped))
    for name, commands in answers.left.items():
        click.echo(f"{name}: still running: {'; '.join(commands)}", err=True)
    for reason in (*answers.silent.values(), *filter(None, unmade)):
        click.echo(reason, err=True)
    if not answers.proven:
        raise NotProvenStoppedError(f"not shown to be quiet: {', '.join(answers.unproven)}")
    count = len(plan.hosts)
    click.echo(f"run {plan.run_id}: no process is left on {count} {'host' if count == 1 else 'hosts'}")


@click.command(short_help="Check shards, and prove that every source row is there.")
@click.argument("targets", nargs=-1, required=True)
@click.option(
    "--ledger", "trust_ledger", is_flag=True, help="Let the run's ledger speak for hosts that cannot be asked."
)
@click.option("--json", "as_json", is_flag=True, help="The whole report as one JSON object.")
def verify(targets: tuple[str, ...], trust_ledger: bool, as_json: bool) -> None:
    """Check shards against their records, and prove that every source row is there exactly once.

    TARGETS are output directories on this machine, or one run (its directory or id), which is checked on all its
    hosts. With --ledger, exit code 0 when what the other hosts hold and what the ledger knows is the whole dataset.
    """
    whole = len(targets) == 1 and not _is_directory_of_shards(targets[0])
    if trust_ledger and not whole:
        raise click.UsageError("--ledger is for a run: directories have none")
    found = verify_run(_run_of(targets[0])) if whole else Verified(verify_directories([*map(Path, targets)]), {})
    report = found.report
    problems, warnings = ([], found.problems) if trust_ledger else (found.problems, [])
    code = 0 if report.ok and not problems and (report.coverage.complete or not whole) else 1
    if as_json:
        answer = {"report": report, "problems": problems, "by_ledger": found.by_ledger, "exit_code": code}
        click.echo(msgspec.json.encode(answer))
    else:
        Console().print(verification(report, problems, of_run=whole, warnings=warnings))
    sys.exit(code)


def _run_of(target: str) -> RunDirectory:
    try:
        return find_run(target)
    except InputError as error:
        rest = str(error).removeprefix(f"{target}: ")
        raise InputError(f"{target}: no directory of shards (no {DIRECTORY_FILE} in it), and {rest}") from error


def _is_directory_of_shards(target: str) -> bool:
    # Not Path.exists(), which raises for a name that is too long.
    return os.path.exists(os.path.join(target, DIRECTORY_FILE))  # noqa: PTH110, PTH118
