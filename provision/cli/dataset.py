"""The options that name a dataset, of every command that reads one."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

dataset_options = (
    click.option(
        "--dataset",
        required=True,
        metavar="NAME",
        help="owner/name on the Hugging Face Hub, a directory, or an fsspec URL such as s3://bucket/path.",
    ),
    click.option("--revision", metavar="REV", help="Branch, tag or commit on the Hub.  [default: main]"),
    click.option("--config", metavar="NAME", help="Configuration of the dataset, as its card on the Hub lists them."),
    click.option(
        "--include",
        multiple=True,
        metavar="GLOB",
        help="Take only files whose path matches; ** crosses directories. May be given several times.",
    ),
    click.option("--text-column", default="text", show_default=True, metavar="NAME", help="Column with the documents."),
)


def takes_dataset(command: F) -> F:
    """Give a command these options."""
    for option in reversed(dataset_options):
        command = option(command)
    return command
