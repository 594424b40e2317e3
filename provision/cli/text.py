"""text: documents of a dataset, or of shards, as one file of lines."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import click

from provision.cli.dataset import dataset_options, dataset_spec
from provision.plan.units import units_of
from provision.prepare.prepare import list_dataset
from provision.tokenizer.decoder import decoder_of
from shard.storage.stored import open_stored
from shard.texts import Documents, comes_back, of_dataset, of_shards, write_texts

F = TypeVar("F", bound=Callable[..., Any])

_PART_BYTES = 256 << 20


def _says_how(command: F) -> F:
    """All that says how a dataset is read, but for which one it is."""
    for option in reversed(dataset_options[1:]):
        command = option(command)
    return command


@click.command(short_help="Write the documents of a dataset, or of shards, to FILE.")
@click.argument("directories", nargs=-1, type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    metavar="[AS=]NAME",
    help="Of a dataset, as for launch. Several are read in this order, each given as AS=NAME.",
)
@click.option(
    "--to",
    "targets",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    multiple=True,
    metavar="FILE",
    help="File to make: .jsonl (or .json) or .arrow, with text, and with source where that is known of documents; or "
    ".txt, where a line is a document. May be given several times.",
)
@_says_how
@click.option("--tokenizer", help="Of shards: its file, where the name in them does not lead to it: as for launch.")
def text(
    directories: tuple[Path, ...],
    datasets: tuple[str, ...],
    targets: tuple[Path, ...],
    tokenizer: str | None,
    **how: Any,
) -> None:
    """Write the documents of a dataset, or of DIRECTORIES of shards, to FILE.

    Those of a dataset are read as a run would, without tokenizing; those of shards are decoded. For tools that take
    text. FILE appears when it is complete.
    """
    if bool(directories) == bool(datasets):
        raise click.UsageError("either --dataset, or directories of shards")
    if directories:
        documents, with_source = _decoded(directories, tokenizer), True
    else:
        documents, with_source = _read(datasets, **how)
    done = write_texts(documents, [target.expanduser() for target in targets], with_source=with_source)
    for target in targets:
        click.echo(f"{target}: {done.documents:,} documents")
    if dropped := ", ".join(f"{rows:,} {reason}" for reason, rows in done.dropped.items() if rows):
        click.echo(f"no documents, and left out: {dropped}", err=True)


def _read(datasets: tuple[str, ...], **how: Any) -> tuple[Iterator[Documents], bool]:
    """The documents of a dataset, and whether it is known of each where it is from."""
    catalog = list_dataset(dataset_spec(datasets=datasets, **how))
    for note in catalog.notes:
        click.echo(note, err=True)
    dataset = catalog.dataset
    units = units_of(catalog.files, _PART_BYTES, dataset.input, named=bool(dataset.named))
    return of_dataset(dataset, units, dict(catalog.locations)), bool(dataset.named)


def _decoded(directories: tuple[Path, ...], tokenizer: str | None) -> Iterator[Documents]:
    stores = [open_stored(directory) for directory in directories]
    references = [decoder_of(stored.record.tokenizer, tokenizer) for stored in stores]
    for name in sorted({reference.name for reference in references if not comes_back(reference)}):
        click.echo(f"{name} does not give back every text to the last character: what it normalises stays so", err=True)
    pairs = zip(stores, references, strict=True)
    return chain.from_iterable(of_shards(stored, reference) for stored, reference in pairs)
