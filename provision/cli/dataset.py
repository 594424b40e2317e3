"""The options that say which documents a command takes, and how they are read."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from provision.catalog.types import DatasetSpec
from provision.errors import CatalogError
from shard.records.dataset import DATASET_NAME
from shard.records.inputs import Format, Input

F = TypeVar("F", bound=Callable[..., Any])

dataset_options = (
    click.option(
        "--dataset",
        "datasets",
        required=True,
        multiple=True,
        metavar="[AS=]NAME",
        help="owner/name on the Hugging Face Hub, a directory, or an fsspec URL such as s3://bucket/path. "
        "Several are read in this order, each given as AS=NAME; shards name what they come from.",
    ),
    click.option("--revision", metavar="REV", help="Branch, tag or commit on the Hub.  [default: main]"),
    click.option("--config", metavar="NAME", help="Configuration of the dataset, as its card on the Hub lists them."),
    click.option(
        "--split",
        metavar="NAME",
        help="Split of the dataset: by its card, else by words of paths, such as test/ or data/test-00000-of-00002. "
        "[default: train where the card names splits, else all files]",
    ),
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
DATASET_NAMES = (*("datasets", "revision", "config", "split", "include", "text_column"), *sorted(INPUT_NAMES))
"""What `dataset_spec` takes."""


def dataset_spec(
    *,
    datasets: tuple[str, ...],
    revision: str | None,
    config: str | None,
    split: str | None,
    include: tuple[str, ...],
    input_format: Format | None,
    document_per_line: bool,
    drop_empty_lines: bool,
    text_column: str,
) -> DatasetSpec:
    """What those options ask for. Raises CatalogError when it cannot be meant."""
    named = _named(datasets)
    return DatasetSpec(
        name=" ".join(datasets),
        named=named,
        revision=revision,
        config=config,
        split=split,
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


def _named(datasets: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """(name, what it stands for) of each of several; empty for one without a name.

    Raises CatalogError when one of several has no name, or two have the same.
    """
    pairs = [(name, rest) for name, _, rest in (value.partition("=") for value in datasets)]
    wrong = [value for value, (name, rest) in zip(datasets, pairs, strict=True) if not _is_named(name, rest)]
    if len(datasets) == 1 and (wrong or Path(datasets[0]).exists()):
        return ()
    if wrong:
        raise CatalogError(f"--dataset {wrong[0]}: one of several needs a name: --dataset web={wrong[0]}")
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise CatalogError(f"--dataset {twice[0]}=…: two datasets have this name")
    return tuple(pairs)


def _is_named(name: str, rest: str) -> bool:
    return bool(rest) and DATASET_NAME.fullmatch(name) is not None
