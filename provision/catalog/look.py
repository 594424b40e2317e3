"""A look into the first file of a dataset, with the very code that will read all of them."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from provision.catalog.types import SourceFile
from provision.errors import CatalogError
from shard.errors import SourceError
from shard.records.job import Dataset
from shard.records.unit import Unit
from shard.source.look import holds_text
from shard.source.spanfile import SpanFile

_LOOKED_INTO = 3
"""Files, at most: until one is not damaged."""


def look_for_text(
    dataset: Dataset, files: Iterable[SourceFile], open_file: Callable[[Unit, ExitStack], Path | SpanFile]
) -> None:
    """Look into the first file that can be read. Raises CatalogError when it has no text where it is said to be."""
    for file in [file for file in files if file.size][:_LOOKED_INTO]:
        unit = Unit(ordinal=0, path=file.path, size=file.size, content_id=file.content_id)
        with ExitStack() as stack:
            try:
                if holds_text(open_file(unit, stack), unit, dataset, where=f"{dataset.name}/{file.path}"):
                    return
            except SourceError as error:
                raise CatalogError(str(error)) from error
