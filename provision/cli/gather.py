"""gather: what all hosts of a run hold, in one file, and their holdout in one directory."""

import sys
from pathlib import Path

import click

from provision.finish.bring import bring_holdout
from provision.finish.gather import gather as gather_records
from provision.plan.rundir import find_run
from shard.records.manifest import MANIFEST_FILE


@click.command(short_help="Ask the hosts of RUN for their records; write cluster.json.")
@click.argument("run")
@click.option(
    "--holdout",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Bring the holdout shards of all hosts to DIR on this machine; what is there already is kept.",
)
def gather(run: str, holdout: Path | None) -> None:
    """Ask the hosts of RUN for their records, and write cluster.json anew, here and on every host.

    Exit code 0 when the hosts together hold every row exactly once and, with --holdout, all of it has come here.
    """
    directory = find_run(run)
    plan = directory.read_plan()
    with directory.not_running():
        gathered = gather_records(directory, plan)
        problems = list(gathered.notes)
        if holdout is not None:
            target = holdout.expanduser().absolute()
            brought = bring_holdout(directory, plan, gathered, target)
            problems += brought.problems
            click.echo(brought.said(target))
    proof = gathered.manifest.proof
    for line in problems:
        click.echo(line, err=True)
    click.echo(
        f"{directory.path / MANIFEST_FILE}: {proof.proven} of {proof.units} units, {gathered.manifest.tokens:,} tokens "
        f"in train, {gathered.manifest.tokens_per_rank:,} for each of {gathered.manifest.world_size} ranks"
    )
    whole = holdout is None or not brought.problems
    sys.exit(0 if gathered.complete and whole else 1)
