"""`python -m shard`: what the launcher calls on a host. Users meet it only in logs."""

import sys
from pathlib import Path

import click
import msgspec

from shard.errors import ShardError, VerificationError
from shard.host.stopping import left_of, stop
from shard.host.supervisor import run_host
from shard.host.survey import survey
from shard.job import Job, read_record
from shard.verify.stores import verify_job

_job = click.option(
    "--job",
    "job_directory",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory of the job: <base>/runs/<run id>/<host>.",
)


@click.group()
def cli() -> None:
    """Workers of shardfleet."""


@cli.command()
@_job
def run(job_directory: Path) -> None:
    """Supervise this host's ranks; ends when standard input does."""
    sys.exit(run_host(job_directory.expanduser().absolute()))


@cli.command(hidden=True)
@_job
@click.option("--rank", type=int, required=True)
@click.option("--link", type=int, required=True, help="File descriptor of the socket to the supervisor.")
@click.option("--parent", type=int, required=True, help="Process id of the supervisor.")
def rank(job_directory: Path, rank: int, link: int, parent: int) -> None:
    """One rank (started by the supervisor)."""
    # Here: it loads the Parquet reader and the tokenizer, which would keep every 'stop' and 'left' waiting.
    from shard.host.rank import run_rank

    sys.exit(run_rank(job_directory, rank, link, parent))


@cli.command("stop")
@_job
@click.option("--now", is_flag=True, help="No grace: kill at once.")
def stop_command(job_directory: Path, now: bool) -> None:
    """Stop this host's run; print what is left as JSON."""
    _print(stop(job_directory.expanduser().absolute(), now=now))


@cli.command()
@_job
def left(job_directory: Path) -> None:
    """Print the living processes of this host's run as JSON."""
    _print(left_of(job_directory.expanduser().absolute()))


@cli.command("survey")
@click.option("--output-dir", type=click.Path(path_type=Path), required=True)
@click.option("--holdout-dir", type=click.Path(path_type=Path), required=True)
def survey_command(output_dir: Path, holdout_dir: Path) -> None:
    """Print what this host has, as JSON; changes nothing."""
    _print(survey(output_dir, holdout_dir))


@cli.command()
@_job
def verify(job_directory: Path) -> None:
    """Read this host's shards again; print the report as JSON. Exit code 1 when something is wrong."""
    report = verify_job(read_record(job_directory.expanduser().absolute() / "job.json", Job))
    _print(report)
    sys.exit(0 if report.ok else VerificationError.exit_code)


def _print(value: object) -> None:
    click.echo(msgspec.json.encode(value).decode())


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    try:
        cli()
    except ShardError as error:
        click.echo(f"shard: {error}", err=True)
        sys.exit(error.exit_code)
