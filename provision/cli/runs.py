"""plan, script, launch: the commands that make a run."""

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import msgspec
from rich.console import Console

from provision.cli.options import run_options
from provision.finish.report import checks_table, plan_table
from provision.plan.rundir import SCRIPT_NAME
from provision.prepare.preflight import failures, require_ready
from provision.prepare.prepare import Prepared, Request, prepare, write_run
from provision.prepare.survey import Answer
from provision.run.push import hand_over_token, without_secrets


@click.command()
@run_options
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON.")
def plan(request: Request, as_json: bool) -> None:
    """Show what a run would do on each host; start nothing."""
    with TemporaryDirectory(prefix="shardfleet-plan-") as directory:
        prepared = prepare(request, say, run_dir=Path(directory))
    if as_json:
        surveys = {
            name: msgspec.to_builtins(answer.survey) if isinstance(answer, Answer) else {"problem": answer.reason}
            for name, answer in prepared.surveys.items()
        }
        checks = msgspec.to_builtins(dict(prepared.checks))
        click.echo(json.dumps({**msgspec.to_builtins(prepared.plan), "surveys": surveys, "checks": checks}))
        return
    console = Console()
    console.print(plan_table(prepared.plan, prepared.surveys))
    console.print(checks_table(prepared.plan, prepared.checks))
    _say_notes(prepared)
    _say_failures(prepared)


@click.command()
@run_options
def script(request: Request) -> None:
    """Write run_all_hosts.sh, which does the whole run by itself."""
    prepared = prepare(request, say)
    _say_checks(prepared)
    _say_failures(prepared)
    path = write_run(prepared)
    click.echo(f"wrote {path}; the run's directory is {prepared.run.path}", err=True)


@click.command()
@run_options
@click.option("--plain", is_flag=True, help="Lines instead of the dashboard. [default when not on a terminal]")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON lines; the last is the run_done object.")
def launch(request: Request, plain: bool, as_json: bool) -> None:
    """Plan, write run_all_hosts.sh, and run it.

    Exit code: 0 every unit is committed; 1 something is missing; 2 refused; 130 stopped, and shown to be; 3 stopped,
    but not shown to be on the hosts named.
    """
    require_one_style(plain, as_json)
    start(prepare(request, say), plain=plain, as_json=as_json)


def require_one_style(plain: bool, as_json: bool) -> None:
    """UsageError where both are given."""
    if plain and as_json:
        raise click.UsageError("--plain and --json: give one of them")


def start(prepared: Prepared, *, plain: bool, as_json: bool) -> None:
    """Write the script of a run, and become it."""
    _say_checks(prepared)
    require_ready(prepared.plan, prepared.checks)
    write_run(prepared)
    style = ["--json"] if as_json else ["--plain"] if plain else []
    click.echo(f"run {prepared.plan.run_id}: {prepared.run.path}", err=True)
    # Not in the environment of what follows, where others could see it.
    hand_over_token(prepared.run, prepared.plan)
    # The script is the run: from here on this process is the script.
    sys.stdout.flush()
    os.chdir(prepared.run.path)
    os.execvpe("bash", ["bash", SCRIPT_NAME, *style], without_secrets())  # noqa: S606  no shell parses these words


def _say_checks(prepared: Prepared) -> None:
    Console(stderr=True).print(checks_table(prepared.plan, prepared.checks))
    _say_notes(prepared)


def _say_notes(prepared: Prepared) -> None:
    for line in prepared.notes:
        say(line)


def _say_failures(prepared: Prepared) -> None:
    for host in prepared.plan.present:
        for check in failures(prepared.checks[host.name]):
            say(f"{host.name}: {check.text}")


def say(text: str) -> None:
    click.echo(text, err=True)
