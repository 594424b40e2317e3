"""`python -m shard`: what the launcher calls on a host. Users meet it only in logs."""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click
import msgspec

from shard.dedup.questions import KeysQuestion, SignaturesQuestion
from shard.errors import ShardError, VerificationError
from shard.host.commits import commits_of, discard_units, require_planned
from shard.host.contents import contents_of
from shard.host.detach import start_detached
from shard.host.exporting import exporting
from shard.host.follow import follow, follow_once
from shard.host.requests import ask
from shard.host.stopping import left_of, stop
from shard.host.supervisor import run_host
from shard.host.survey import survey
from shard.records.dedup import Scheme
from shard.records.frozen import read_record
from shard.records.hub import HubQuestion
from shard.records.job import Job
from shard.records.progress import HostStarted, encode
from shard.signatures.unsigned import unsigned_units

_job = click.option(
    "--job",
    "job_directory",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory of the job: <base>/runs/<run id>/<host>.",
)


def _planned(command: Callable[..., None]) -> Callable[..., None]:
    """Options of a command about what a job has written: the directories that the plan has by now."""
    for name in ("--holdout-dir", "--output-dir"):
        command = click.option(name, type=click.Path(path_type=Path), required=True)(command)
    return command


@click.group()
def cli() -> None:
    """Workers of shardfleet."""


@cli.command()
@_job
def run(job_directory: Path) -> None:
    """Supervise this host's ranks; ends when standard input does."""
    sys.exit(run_host(job_directory.expanduser().absolute()))


@cli.command()
@_job
def start(job_directory: Path) -> None:
    """Start this host's supervisor in a session of its own; print its first word when it has taken the job."""
    word = start_detached(job_directory.expanduser().absolute())
    click.echo(encode(word), nl=False)
    sys.exit(0 if isinstance(word, HostStarted) else 1)


@cli.command("follow")
@_job
@click.option("--once", is_flag=True, help="Print what there is, and how the host stands.")
@click.option("--stay", is_flag=True, help="Go on when the supervisor has ended: another may be started.")
def follow_command(job_directory: Path, once: bool, stay: bool) -> None:
    """Print events and progress since the latest start, until the supervisor or standard input ends."""
    directory = job_directory.expanduser().absolute()
    if once:
        follow_once(directory, sys.stdout.fileno())
    else:
        follow(directory, sys.stdout.fileno(), sys.stdin.fileno(), stay=stay)


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


@cli.command()
@_job
def assign(job_directory: Path) -> None:
    """Pass a request about its share, JSON on standard input, on to the running supervisor; print its answer."""
    click.echo(ask(job_directory.expanduser().absolute(), sys.stdin.buffer.read()))


@cli.command("survey")
@click.option("--output-dir", type=click.Path(path_type=Path), required=True)
@click.option("--holdout-dir", type=click.Path(path_type=Path), required=True)
def survey_command(output_dir: Path, holdout_dir: Path) -> None:
    """Print what this host has, as JSON; changes nothing.

    JSON on standard input, where there is any, is a question that the host is to ask the Hub.
    """
    began = time.time()
    question = sys.stdin.buffer.read()
    answer = None
    if question:
        # Here: it loads the HTTP client, which would keep every 'stop' and 'left' waiting.
        from shard.source.hubcheck import ask_hub

        answer = ask_hub(msgspec.json.decode(question, type=HubQuestion))
    _print(survey(output_dir, holdout_dir, answer, began=began))


@cli.command("contents")
@click.option("--output-dir", type=click.Path(path_type=Path), required=True)
@click.option("--holdout-dir", type=click.Path(path_type=Path), required=True)
def contents_command(output_dir: Path, holdout_dir: Path) -> None:
    """Print which units of which source files a pair of directories holds, as JSON."""
    _print(contents_of(output_dir, holdout_dir))


@cli.command()
@_job
@_planned
def records(job_directory: Path, output_dir: Path, holdout_dir: Path) -> None:
    """Print every committed unit in this host's directories, with counts and hashes, as JSON."""
    job = _read_job(job_directory)
    require_planned(job, output_dir, holdout_dir)
    _print(commits_of(job))


@cli.command("unsigned")
@_job
def unsigned_command(job_directory: Path) -> None:
    """Print which committed units have no signatures by a scheme, JSON on standard input, as JSON."""
    scheme = msgspec.json.decode(sys.stdin.buffer.read(), type=Scheme)
    _print(unsigned_units(_read_job(job_directory), scheme))


@cli.command("keys")
@_job
def keys_command(job_directory: Path) -> None:
    """Print the keys of all documents of some units, named by JSON on standard input, as bytes."""
    # Here: it loads numpy, which would keep every other command waiting.
    from shard.dedup.answers import keys_of_units

    question = msgspec.json.decode(sys.stdin.buffer.read(), type=KeysQuestion)
    sys.stdout.buffer.writelines(keys_of_units(_read_job(job_directory), question))


@cli.command("signatures")
@_job
def signatures_command(job_directory: Path) -> None:
    """Print the signatures of some documents, named by JSON on standard input, as bytes."""
    # Here: it loads numpy, which would keep every other command waiting.
    from shard.dedup.answers import signatures_of_units

    question = msgspec.json.decode(sys.stdin.buffer.read(), type=SignaturesQuestion)
    sys.stdout.buffer.writelines(signatures_of_units(_read_job(job_directory), question))


@cli.command("discard")
@_job
def discard_command(job_directory: Path) -> None:
    """Remove the shards of units that another host keeps: a JSON list on standard input. Refused while at work."""
    _print(discard_units(job_directory.expanduser().absolute(), sys.stdin.buffer.read()))


@cli.command()
@_job
@_planned
def verify(job_directory: Path, output_dir: Path, holdout_dir: Path) -> None:
    """Read this host's shards again; print the report as JSON. Exit code 1 when something is wrong."""
    # Here: it loads numpy, which would keep every other command waiting.
    from shard.verify.stores import verify_job

    job = _read_job(job_directory)
    require_planned(job, output_dir, holdout_dir)
    report = verify_job(job)
    _print(report)
    sys.exit(0 if report.ok else VerificationError.exit_code)


@cli.command("export")
@click.argument("directories", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "format_name", required=True)
@click.option("--to", "target", required=True, type=click.Path(path_type=Path))
@click.option("--context-length", type=int)
@click.option("--shard-tokens", type=int)
@click.option("--local-ranks", type=int)
@click.option("--name")
def export_command(
    directories: tuple[Path, ...],
    format_name: str,
    target: Path,
    context_length: int | None,
    shard_tokens: int | None,
    local_ranks: int | None,
    name: str | None,
) -> None:
    """Write directories of shards in the format of a trainer, unless that is there; print what it holds as JSON."""
    # Here: it loads Arrow and the formats, which would keep every other command waiting.
    from shard.export.options import ExportOptions
    from shard.host.exports import export_here

    options = ExportOptions(
        context_length=context_length, shard_tokens=shard_tokens, name=name, local_ranks=local_ranks
    )
    done = export_here(directories, format_name, target, options)
    _print({**asdict(done), "target": str(done.target)})


@cli.command("exporting")
@click.argument("directories", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--to", "target", required=True, type=click.Path(path_type=Path))
def exporting_command(directories: tuple[Path, ...], target: Path) -> None:
    """Print how far an export is, as JSON."""
    _print(exporting(directories, target))


def _read_job(job_directory: Path) -> Job:
    return read_record(job_directory.expanduser().absolute() / "job.json", Job)


def _print(value: object) -> None:
    click.echo(msgspec.json.encode(value).decode())


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    try:
        cli()
    except ShardError as error:
        click.echo(f"shard: {error}", err=True)
        sys.exit(error.exit_code)
