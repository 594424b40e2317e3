"""dedup: shards without the documents that stand in them more than once, on this machine or on all hosts of a run."""

from pathlib import Path

import click

from provision.cli.runs import require_one_style
from provision.cli.values import Rate, Size
from shard.records.dedup import Kind, Scheme, Scope, Settings
from shard.records.shards import DIRECTORY_FILE


@click.command(short_help="Write shards anew without duplicates.")
@click.argument("what", nargs=-1, required=True, metavar="RUN | DIR HOLDOUT")
@click.option(
    "--to", "target", required=True, metavar="DIR", help="Directory to make, for train; of a run, on each host."
)
@click.option(
    "--holdout-dir",
    "holdout",
    metavar="DIR",
    help="Directory to make, for holdout.  [default: that of --to with _holdout behind it]",
)
@click.option(
    "--kind",
    type=click.Choice(["exact", "minhash"]),
    default="minhash",
    show_default=True,
    help="Equal but for white space and case of A to Z, or also nearly equal.",
)
@click.option("--ngram", type=int, default=5, show_default=True, metavar="WORDS", help="Words of an n-gram.")
@click.option("--num-perm", type=int, default=64, show_default=True, metavar="N", help="Values of a signature.")
@click.option("--bands", type=int, metavar="N", help="[default: as many as --rows leaves room for]")
@click.option("--rows", type=int, default=8, show_default=True, metavar="N", help="Values of a band.")
@click.option("--threshold", type=float, default=0.85, show_default=True, help="Estimated Jaccard similarity.")
@click.option("--seed", type=int, default=42, show_default=True, help="Of the permutations.")
@click.option(
    "--scope",
    type=click.Choice(["global", "source", "none"]),
    default="global",
    show_default=True,
    help="Copies anywhere, copies within one of several named or joined datasets, or none.",
)
@click.option(
    "--max-removed",
    type=Rate(all_of_it=True),
    default="20%",
    show_default=True,
    help="Stop before anything is written where more of the documents would go; 100% never does.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and write removal lists alone.")
@click.option(
    "--work-dir",
    "work",
    type=click.Path(path_type=Path),
    help="Of directories: for signatures and removal lists; the next start uses them.  [default: that of --to with "
    "_dedup behind it]",
)
@click.option(
    "--memory",
    type=Size(),
    metavar="SIZE",
    help="What sorting keys takes at most on this machine; the rest waits on disk.  [default: 80% of its memory]",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=None,
    help="Of directories.  [default: the cores that this process may use]",
)
@click.option("--tokenizer", help="Of directories: its file, where the name in the shards does not lead to it.")
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Of a run: plan, script, events of the one that removes.  [default: runs/<run id>]",
)
@click.option("--plain", is_flag=True, help="Of a run: lines instead of the dashboard.")
@click.option("--json", "as_json", is_flag=True, help="Of a run: events as JSON lines, as launch prints them.")
def dedup(
    what: tuple[str, ...],
    target: str,
    holdout: str | None,
    kind: Kind,
    ngram: int,
    num_perm: int,
    bands: int | None,
    rows: int,
    threshold: float,
    seed: int,
    scope: Scope,
    max_removed: float,
    dry_run: bool,
    work: Path | None,
    memory: int | None,
    processes: int | None,
    tokenizer: str | None,
    run_dir: Path | None,
    plain: bool,
    as_json: bool,
) -> None:
    """Write shards anew without duplicates: those of a finished RUN, each host its own, or DIR and HOLDOUT, train and
    holdout of one dataset on this machine.

    Of documents that are alike the first stays, in dataset order, on whichever side and host it is. What would be
    removed is said before anything is written. After a crash or Ctrl+C the same command goes on with what is there.
    """
    settings = Settings(
        scheme=Scheme(kind=kind, ngram=ngram, num_perm=num_perm, seed=seed),
        bands=max(1, num_perm // max(1, rows)) if bands is None else bands,
        rows=rows,
        threshold=threshold,
        scope=scope,
    )
    # DuckDB takes a tenth of a second to import, and no other command needs it.
    if len(what) == 1:
        if (Path(what[0]) / DIRECTORY_FILE).exists():
            raise click.UsageError(f"{what[0]}: a directory of shards; give train and holdout, one behind the other")
        require_one_style(plain, as_json)
        _refuse("a run", work_dir=work, processes=processes, tokenizer=tokenizer)
        from provision.cli.deduprun import dedup_run

        style = ["--json"] if as_json else ["--plain"] if plain else []
        dedup_run(
            what[0], (target, holdout), settings, max_removed, memory, dry_run=dry_run, run_dir=run_dir, style=style
        )
    elif len(what) == 2:
        _refuse("directories", run_dir=run_dir, plain=plain, json=as_json)
        from provision.cli.deduphere import dedup_here

        directories = Path(what[0]), Path(what[1])
        finals = Path(target), None if holdout is None else Path(holdout)
        dedup_here(directories, finals, settings, max_removed, dry_run, work, memory, processes, tokenizer)
    else:
        raise click.UsageError("give a run, or one directory of train and one of holdout")


def _refuse(what: str, **values: object) -> None:
    given = [f"--{name.replace('_', '-')}" for name, value in values.items() if value]
    if given:
        raise click.UsageError(f"{given[0]} is not for {what}")
