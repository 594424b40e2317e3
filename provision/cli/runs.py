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
from provision.prepare import Prepared, Request, prepare, write_run
from provision.report import plan_table, short_of_space
from provision.rundir import SCRIPT_NAME
from provision.survey import problems, require_ready
from shard.host.survey import Survey


@click.command()
@run_options
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON.")
def plan(request: Request, as_json: bool) -> None:
    """Show what a run would do on each host; start nothing."""
    with TemporaryDirectory(prefix="shardfleet-plan-") as directory:
        prepared = prepare(request, _say, run_dir=Path(directory))
    if as_json:
        surveys = {
            name: msgspec.to_builtins(answer) if isinstance(answer, Survey) else {"problem": str(answer)}
            for name, answer in prepared.surveys.items()
        }
        click.echo(json.dumps({**msgspec.to_builtins(prepared.plan), "surveys": surveys}))
        return
    Console().print(plan_table(prepared.plan, prepared.surveys))
    for line in (*prepared.catalog.notes, *problems(prepared.plan, prepared.surveys), *_space(prepared)):
        click.echo(line, err=True)


@click.command()
@run_options
def script(request: Request) -> None:
    """Write run_all_hosts.sh, which does the whole run by itself."""
    prepared = prepare(request, _say)
    for line in (*prepared.catalog.notes, *problems(prepared.plan, prepared.surveys)):
        click.echo(line, err=True)
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
    prepared = prepare(request, _say)
    require_ready(prepared.plan, prepared.surveys)
    for line in (*prepared.catalog.notes, *_space(prepared)):
        click.echo(line, err=True)
    write_run(prepared)
    style = ["--json"] if as_json else ["--plain"] if plain else []
    click.echo(f"run {prepared.plan.run_id}: {prepared.run.path}", err=True)
    # The script is the run: from here on this process is the script.
    sys.stdout.flush()
    os.chdir(prepared.run.path)
    os.execvp("bash", ["bash", SCRIPT_NAME, *style])  # noqa: S606  no shell parses these words


def _space(prepared: Prepared) -> list[str]:
    done = [ordinal for ordinals in prepared.committed.values() for ordinal in ordinals]
    return short_of_space(prepared.plan, prepared.surveys, done)


def _say(text: str) -> None:
    click.echo(text, err=True)
