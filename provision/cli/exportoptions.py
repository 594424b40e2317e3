"""The options of a run that have every host export its shards when all are there."""

import click

from provision.cli.values import Count
from provision.plan.plan import ExportWanted
from shard.export.run import FORMATS

EXPORT_OPTIONS = (
    click.option(
        "--format",
        "export_format",
        type=click.Choice([*FORMATS]),
        help="When the run is complete, every host also writes its shards in the format of a trainer, to --to.",
    ),
    click.option(
        "--to",
        "export_to",
        metavar="DIR",
        help="Directory that --format makes on each host; ~ is its home.",
    ),
    click.option(
        "--context-length",
        "--block-size",
        "context_length",
        type=click.IntRange(min=1),
        metavar="L",
        help="Tokens of a sample, where --format has samples.",
    ),
    click.option(
        "--shard-size",
        "shard_tokens",
        type=Count(),
        metavar="TOKENS",
        help="Tokens of a file of --format at which the next begins.  [default: what is customary]",
    ),
)

EXPORT_NAMES = ("export_format", "export_to", "context_length", "shard_tokens")


def export_wanted(
    *, export_format: str | None, export_to: str | None, context_length: int | None, shard_tokens: int | None
) -> ExportWanted | None:
    """What every host is to write; None where nothing was asked for."""
    if export_format is None or export_to is None:
        if {export_format, export_to, context_length, shard_tokens} != {None}:
            raise click.UsageError("--format and --to go together: what every host is to write, and where")
        return None
    return ExportWanted(format=export_format, to=export_to, context_length=context_length, shard_tokens=shard_tokens)
