"""`python -m provision.control`: what run_all_hosts.sh calls. Users meet it only there."""

import sys
from dataclasses import replace
from pathlib import Path

import click
import msgspec

from provision.errors import ProvisionError
from provision.finish.conclude import conclude
from provision.plan.rundir import RunDirectory
from provision.reach.settle import Answers, left_on_hosts, stop_hosts
from provision.run.detach import await_starts
from provision.run.keeper import replay
from provision.run.lease import renew_leases
from provision.run.monitor import ClusterState
from provision.run.push import hand_over_token, push_jobs
from provision.run.shows import Style
from provision.run.watch import watch
from shard.errors import ShardError
from shard.processes import die_with_parent

_run = click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))


@click.group()
def cli() -> None:
    """Steps of run_all_hosts.sh."""


@cli.command()
@_run
def push(run: Path) -> None:
    """Send every host its job."""
    directory = RunDirectory(run)
    for marker in (directory.aborted, directory.stopping, directory.stopped):
        marker.unlink(missing_ok=True)
    if not directory.token.exists():
        hand_over_token(directory, directory.read_plan())
    push_jobs(directory)


@cli.command("watch")
@_run
@click.option("--parent", type=int, required=True, help="Process id of the script.")
@click.option("--plain", is_flag=True)
@click.option("--json", "as_json", is_flag=True)
def watch_command(run: Path, parent: int, plain: bool, as_json: bool) -> None:
    """Show what the hosts say, from standard input, until they have all hung up."""
    style: Style = "json" if as_json else "live" if sys.stdout.isatty() and not plain else "plain"
    watch(RunDirectory(run), sys.stdin.fileno(), sys.stdout, style, parent=parent)


@cli.command()
@_run
@click.option("--plain", is_flag=True)
@click.option("--json", "as_json", is_flag=True)
def started(run: Path, plain: bool, as_json: bool) -> None:
    """Tell which hosts of a detached run are at work, by what they say on standard input."""
    sys.exit(await_starts(RunDirectory(run), sys.stdin.fileno(), sys.stdout, as_json=as_json))


@cli.command()
@_run
@click.option("--parent", type=int, required=True, help="Process id of the script.")
def lease(run: Path, parent: int) -> None:
    """Tell every host, now and then, that the launcher lives."""
    die_with_parent(parent)
    directory = RunDirectory(run)
    renew_leases(directory.read_plan(), directory.ssh_config)


@cli.command()
@_run
@click.option("--now", is_flag=True)
def stop(run: Path, now: bool) -> None:
    """Stop every host."""
    directory = RunDirectory(run)
    unmade = [directory.mark(directory.stopping)]
    answers = stop_hosts(directory, directory.read_plan(), now=now)
    unmade.append(directory.mark(directory.stopped, msgspec.json.encode(answers.silent)))
    for reason in (*answers.silent.values(), *filter(None, unmade)):
        click.echo(reason, err=True)


@cli.command()
@_run
@click.option("--interrupts", type=int, required=True)
@click.option("--plain", is_flag=True)
@click.option("--json", "as_json", is_flag=True)
def settle(run: Path, interrupts: int, plain: bool, as_json: bool) -> None:
    """Ask every host what is left, say how the run ended, and exit with its code."""
    directory = RunDirectory(run)
    directory.token.unlink(missing_ok=True)  # no watcher took it
    state = replay(directory)
    stopped = interrupts > 0 or directory.aborted.exists()
    answers = _answers(directory, state, stopped=stopped)
    sys.exit(conclude(directory, state, answers, stopped=stopped, as_json=as_json))


def _answers(run: RunDirectory, state: ClusterState, *, stopped: bool) -> Answers:
    plan = state.plan
    if stopped:
        # Hosts that could not be told to stop a moment ago would only be waited for again.
        silent = run.silent_when_stopped()
        answers = stop_hosts(
            run, plan, now=False, names=[host.name for host in plan.present if host.name not in silent]
        )
        return replace(answers, silent={**silent, **answers.silent})
    if plan.options.on_disconnect == "stop":
        return stop_hosts(run, plan, now=False)
    # Hosts that were told to go on without us may still be at work, and that is no fault.
    return left_on_hosts(run, plan, [host.name for host in state.hosts.values() if host.settled])


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    try:
        cli()
    except (ProvisionError, ShardError) as error:
        click.echo(f"shardfleet: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
