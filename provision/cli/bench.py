"""bench-loader: how fast this machine reads a directory of shards into batches."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from provision.cli.values import Seconds
from provision.run.display import human
from shard.loader.bench import PACKINGS, SHUFFLES, LoaderFigures, measure_loader


@click.command("bench-loader", short_help="Read DIRECTORY as a trainer would; say how fast it goes.")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--context-length", type=click.IntRange(min=1), default=2048, show_default=True, help="Tokens of a sample."
)
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Samples of a batch.")
@click.option(
    "--seconds", type=Seconds(min=0, min_open=True), default=5.0, show_default=True, help="How long to read batches."
)
@click.option("--shuffle", type=click.Choice(SHUFFLES), default="full", show_default=True, help="See docs/loader.md.")
@click.option("--packing", type=click.Choice(PACKINGS), default="concat", show_default=True, help="See docs/loader.md.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def bench_loader(
    directory: Path, context_length: int, batch_size: int, seconds: float, shuffle: Any, packing: str, as_json: bool
) -> None:
    """Read DIRECTORY as a trainer would, one process, one rank, and say how fast it goes.

    What the page cache has of it is used: a second run is faster than the first.
    """
    figures = measure_loader(
        directory,
        context_length=context_length,
        batch_size=batch_size,
        seconds=seconds,
        shuffle=shuffle,
        packing=packing,
    )
    if as_json:
        rates = {name: getattr(figures, name) for name in ("batches_per_second", "tokens_per_second")}
        click.echo(json.dumps({"directory": str(directory)} | asdict(figures) | rates))
        return
    said = f"{directory}: {batch_size} samples of {context_length:,} tokens, {packing}, shuffle {shuffle}"
    table = Table(title=said, title_justify="left", show_header=False)
    for row in _rows(figures):
        table.add_row(*map(Text, row))
    Console().print(table, highlight=False)


def _rows(figures: LoaderFigures) -> list[tuple[str, str]]:
    return [
        ("documents", f"{figures.documents:,}, {human(figures.tokens_held)} tokens"),
        ("an epoch", f"{figures.samples:,} samples, {figures.steps:,} batches"),
        ("batches/s", f"{figures.batches_per_second:,.1f}"),
        ("tokens/s", human(figures.tokens_per_second)),
        ("first batch", f"{figures.first_batch * 1e3:,.1f} ms after opening the directory"),
        ("resume", f"{figures.resume * 1e3:,.1f} ms, from opening it to the middle of the epoch"),
        ("memory", f"{figures.peak_bytes / 1e6:,.0f} MB at the highest, the launcher's own included"),
    ]
