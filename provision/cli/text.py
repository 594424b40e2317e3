"""text: the documents of a dataset as one file of lines."""

from pathlib import Path

import click

from provision.catalog.types import DatasetSpec
from provision.cli.dataset import takes_dataset
from provision.prepare import list_dataset
from provision.units import units_of
from shard.texts import write_texts

_PART_BYTES = 256 << 20


@click.command()
@takes_dataset
@click.option(
    "--to",
    "targets",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    multiple=True,
    metavar="FILE",
    help="File to make: .jsonl, lines with text, and with source where several datasets are named; or .txt, where a "
    "line is a document. May be given several times.",
)
def text(spec: DatasetSpec, targets: tuple[Path, ...]) -> None:
    """Write the documents of a dataset to FILE, as a run would read them, without tokenizing.

    For tools that take text, such as trainers of tokenizers. FILE appears when it is complete.
    """
    catalog = list_dataset(spec)
    for note in catalog.notes:
        click.echo(note, err=True)
    dataset = catalog.dataset
    units = units_of(catalog.files, _PART_BYTES, dataset.input, named=bool(dataset.named))
    done = write_texts(dataset, units, dict(catalog.locations), [target.expanduser() for target in targets])
    for target in targets:
        click.echo(f"{target}: {done.documents:,} documents, {done.text_bytes:,} bytes of text")
    if dropped := ", ".join(f"{rows:,} {reason}" for reason, rows in done.dropped.items() if rows):
        click.echo(f"no documents, and left out: {dropped}", err=True)
