"""`python -m provision.control`: what run_all_hosts.sh calls. Users meet it only there."""

import json
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import click
from rich.console import Console

from provision.errors import ProvisionError
from provision.fleet import open_channel
from provision.hosts import Host
from provision.monitor import ClusterState, run_done
from provision.push import push_jobs
from provision.report import summary
from provision.rundir import RunDirectory
from provision.settle import Answers, exit_code, left_on_hosts, stop_hosts
from provision.watch import Style, print_line, replay, watch
from shard.errors import ShardError
from shard.host.processes import die_with_parent

_run = click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))


@click.group()
def cli() -> None:
    """Steps of run_all_hosts.sh."""


@cli.command()
@_run
def push(run: Path) -> None:
    """Send every host its job."""
    directory = RunDirectory(run)
    directory.aborted.unlink(missing_ok=True)
    push_jobs(directory)


@cli.command("watch")
@_run
@click.option("--plain", is_flag=True)
@click.option("--json", "as_json", is_flag=True)
def watch_command(run: Path, plain: bool, as_json: bool) -> None:
    """Show what the hosts say, from standard input, until they have all hung up."""
    style: Style = "json" if as_json else "live" if sys.stdout.isatty() and not plain else "plain"
    watch(RunDirectory(run), sys.stdin.fileno(), sys.stdout, style)


@cli.command()
@_run
@click.option("--parent", type=int, required=True, help="Process id of the script.")
def lease(run: Path, parent: int) -> None:
    """Tell every host, now and then, that the launcher lives."""
    die_with_parent(parent)
    directory = RunDirectory(run)
    plan = directory.read_plan()
    if plan.options.lease_seconds is None:
        return
    # Each host in a thread of its own: one that does not answer must not keep the others waiting.
    for host in plan.hosts:
        if not host.host.is_local:
            path = f"{plan.job_directory(host.name)}/lease"
            renewing = (host.host, directory.ssh_config, path, min(60.0, plan.options.lease_seconds / 4))
            threading.Thread(target=_renew, args=renewing).start()


def _renew(host: Host, ssh_config: Path, path: str, pause: float) -> None:
    while True:
        time.sleep(pause)
        # A host that cannot be reached now is asked again next time; what it does then is its own lease's matter.
        with suppress(ProvisionError, OSError), open_channel(host, ssh_config) as channel:
            channel.put(b"", path)


@cli.command()
@_run
@click.option("--now", is_flag=True)
def stop(run: Path, now: bool) -> None:
    """Stop every host."""
    directory = RunDirectory(run)
    answers = stop_hosts(directory, directory.read_plan(), now=now)
    for reason in answers.silent.values():
        click.echo(reason, err=True)


@cli.command()
@_run
@click.option("--interrupts", type=int, required=True)
@click.option("--plain", is_flag=True)
@click.option("--json", "as_json", is_flag=True)
def settle(run: Path, interrupts: int, plain: bool, as_json: bool) -> None:
    """Ask every host what is left, say how the run ended, and exit with its code."""
    directory = RunDirectory(run)
    state = replay(directory)
    stopped = interrupts > 0 or directory.aborted.exists()
    answers = _answers(directory, state, stopped=stopped)
    state.lose(answers.quiet)
    code = exit_code(state, answers, stopped=stopped)
    if as_json:
        last = json.dumps(run_done(state, exit_code=code, left=answers.left, unproven=answers.unproven))
    else:
        console = Console()
        with console.capture() as capture:
            console.print(summary(directory, state, answers, code))
        last = capture.get().rstrip("\n")
    print_line(last, sys.stdout)
    sys.exit(code)


def _answers(run: RunDirectory, state: ClusterState, *, stopped: bool) -> Answers:
    plan = state.plan
    if stopped or plan.options.on_disconnect == "stop":
        return stop_hosts(run, plan, now=False)
    # Hosts that were told to go on without us may still be at work, and that is no fault.
    ended = [host.name for host in state.hosts.values() if host.ended]
    return left_on_hosts(run, plan, ended)


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    try:
        cli()
    except (ProvisionError, ShardError) as error:
        click.echo(f"shardfleet: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
