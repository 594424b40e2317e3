"""dedup: directories of shards without the documents that stand in them more than once, on this machine."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provision.cli.values import Rate
from provision.decoder import decoder_of
from provision.errors import InputError, TooManyDuplicatesError
from shard.dedup.settings import Kind, Scheme, Scope, Settings
from shard.records import Split

if TYPE_CHECKING:
    from shard.dedup.run import Deduplication

_SIMILARITIES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
_DIRECTORY = click.Path(path_type=Path, file_okay=False, exists=True)


@click.command()
@click.argument("directories", nargs=2, metavar="DIR HOLDOUT", type=_DIRECTORY)
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="Directory to make, for train.")
@click.option(
    "--holdout-dir",
    "holdout",
    type=click.Path(path_type=Path),
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
    type=Rate(),
    default="20%",
    show_default=True,
    help="Stop before anything is written where more of the documents would go.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and write removal lists alone.")
@click.option(
    "--work-dir",
    "work",
    type=click.Path(path_type=Path),
    help="For signatures and removal lists; the next start uses them.  [default: that of --to with _dedup behind it]",
)
@click.option(
    "--processes", type=click.IntRange(min=1), default=None, help="[default: the cores that this process may use]"
)
@click.option("--tokenizer", help="Its file, where the name in the shards does not lead to it: as for launch.")
def dedup(
    directories: tuple[Path, Path],
    target: Path,
    holdout: Path | None,
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
    processes: int | None,
    tokenizer: str | None,
) -> None:
    """Write DIR and HOLDOUT, train and holdout of one dataset, anew without duplicates.

    Of documents that are alike the first stays, in dataset order, on whichever side it is. What would be removed is
    said before anything is written. After a crash or Ctrl+C the same command goes on with the signatures there.
    """
    # DuckDB takes a tenth of a second to import, and no other command needs it.
    from shard.dedup.run import at_work, deduplicate, open_pair

    settings = Settings(
        scheme=Scheme(kind=kind, ngram=ngram, num_perm=num_perm, seed=seed),
        bands=max(1, num_perm // max(1, rows)) if bands is None else bands,
        rows=rows,
        threshold=threshold,
        scope=scope,
    )
    pair = open_pair(directories)
    final = target.absolute()
    finals: dict[Split, Path] = {"train": final, "holdout": holdout or final.with_name(f"{final.name}_holdout")}
    if not dry_run:
        _require_new(finals.values())
    if kind == "minhash":
        click.echo(_curve(settings))
    here, units = len(pair["train"].shards), pair["train"].record.identity.units
    if here < units:
        click.echo(
            f"note: {here:,} of the dataset's {units:,} units are here; copies of what the others hold will stay"
        )
    many = processes or len(os.sched_getaffinity(0))
    work = work or final.with_name(f"{final.name}_dedup")
    reference = decoder_of(pair["train"].record.tokenizer, tokenizer)
    shards = sum(len(stored.shards) for stored in pair.values())
    with at_work(work):
        with click.progressbar(length=shards, label="signatures", file=sys.stderr) as bar:
            found = deduplicate(pair, reference, settings, work, processes=many, progress=lambda: bar.update(1))
        click.echo(_estimate(found))
        if dry_run:
            return
        if found.duplicates.share > max_removed:
            raise TooManyDuplicatesError(
                f"{found.duplicates.share:.2%} of the documents would go, which is more than --max-removed "
                f"{max_removed:.2%}; look at some in {work / 'removed'}, then give a higher one"
            )
        for split, done in found.write(finals, many).items():
            click.echo(f"{done.directory}: {split}, {done.documents:,} documents, {done.tokens:,} tokens")
    click.echo(f"{work}: signatures and removal lists; remove it when they are of no more use")


def _require_new(finals: Iterable[Path]) -> None:
    """Before hours of work, not after them."""
    for final in finals:
        if final.exists():
            raise InputError(f"{final}: exists, and nothing is replaced: remove it, or choose another")


def _curve(settings: Settings) -> str:
    """How likely two documents of some similarity are found."""
    lines = [
        f"{settings.bands} bands of {settings.rows} rows, {settings.scheme.num_perm} permutations, threshold "
        f"{settings.threshold}: of two documents that have a share J of their {settings.scheme.ngram}-grams in common",
        "     J   compared   alike if compared",
    ]
    lines += [f"  {one:.2f}   {settings.compared(one):8.4f}   {settings.passed(one):8.4f}" for one in _SIMILARITIES]
    return "\n".join(lines)


def _estimate(found: "Deduplication") -> str:
    """What would be removed."""
    duplicates = found.duplicates
    near = len(duplicates.removed) - duplicates.exact
    said = f"{duplicates.exact:,} equal to an earlier one"
    if found.settings.scheme.kind == "minhash":
        said += f", {near:,} nearly so ({duplicates.compared:,} pairs compared)"
    return (
        f"{len(duplicates.removed):,} of {duplicates.documents:,} documents would go, {duplicates.share:.2%}: {said}; "
        f"lists in {found.work / 'removed'}"
    )
