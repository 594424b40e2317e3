"""The options that say which documents a command takes, and how they are read."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, get_args

import click

from provision.catalog.types import DatasetSpec
from shard.inputs import Format, Input

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
    click.option(
        "--input-format",
        type=click.Choice(get_args(Format)),
        help="Read files as this, whatever their names say: those of --include, or all.  [default: by suffix]",
    ),
    click.option(
        "--document-per-line",
        is_flag=True,
        help="Of plain text: every line is a document. Else every file, or member of an archive, is one.",
    ),
    click.option(
        "--drop-empty-lines",
        is_flag=True,
        help="Of plain text: leave out lines of nothing but white space.",
    ),
    click.option("--text-column", default="text", show_default=True, metavar="NAME", help="Column with the documents."),
)

INPUT_NAMES = frozenset({"input_format", "document_per_line", "drop_empty_lines"})
DATASET_NAMES = (*("dataset", "revision", "config", "include", "text_column"), *sorted(INPUT_NAMES))
"""What `dataset_spec` takes."""


def dataset_spec(
    *,
    dataset: str,
    revision: str | None,
    config: str | None,
    include: tuple[str, ...],
    input_format: Format | None,
    document_per_line: bool,
    drop_empty_lines: bool,
    text_column: str,
) -> DatasetSpec:
    """What those options ask for. Raises CatalogError when it cannot be meant."""
    return DatasetSpec(
        name=dataset,
        revision=revision,
        config=config,
        include=include,
        text_column=text_column,
        input=Input(format=input_format, document_per_line=document_per_line, drop_empty_lines=drop_empty_lines),
    )


def takes_dataset(command: F) -> Callable[..., Any]:
    """Give a command these options; it is called with their `spec`."""

    @wraps(command)
    def called(**values: Any) -> Any:
        return command(spec=dataset_spec(**{name: values.pop(name) for name in DATASET_NAMES}), **values)

    for option in reversed(dataset_options):
        called = option(called)
    return called
