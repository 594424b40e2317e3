"""A look into the first file of a dataset, with the very code that will read all of them."""

from typing import Any

from shard.errors import SourceError
from shard.source.parquet import open_parquet, require_text_column

LOOKED_INTO = 3
"""Files that are looked into for the text column, at most: until one is not damaged."""


def has_text_column(source: Any, column: str, *, where: str) -> bool:
    """Whether this Parquet file has the column; False when it is damaged: that is the worker's to report.

    Raises SourceError when it has no such column of strings.
    """
    try:
        parquet = open_parquet(source, where=where)
    except SourceError:
        return False
    require_text_column(parquet, column, where=where)
    return True
