"""Dataset spec → pinned list of source files. The only listing of a run: hosts list nothing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fsspec.utils import glob_translate

from provision.errors import CatalogError
from shard.errors import SourceError
from shard.job import Dataset
from shard.source.parquet import open_parquet, require_text_column


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """What the user asked for."""

    name: str
    """`owner/name` on the Hub, a directory, or an fsspec URL."""
    text_column: str = "text"
    revision: str | None = None
    config: str | None = None
    include: tuple[str, ...] = ()
    """Globs on the path; a file is taken when one of them matches, or none is given."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One input file, pinned."""

    path: str
    size: int
    content_id: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """All input files of a dataset, in dataset order (by path)."""

    dataset: Dataset
    files: tuple[SourceFile, ...]
    notes: tuple[str, ...] = ()
    """What the user should know of how the files were chosen."""
    locations: dict[str, str] = field(default_factory=dict)
    """Signed locations that were resolved on the way, by path: worth a resolve each, and worth keeping secret."""


LOOKED_INTO = 3
"""Files that are looked into for the text column, at most: until one is not damaged."""


def choose(paths: Sequence[str], globs: Sequence[str]) -> list[str]:
    """The paths that match one of the globs (`**` crosses directories), in order; all of them when there is no glob."""
    patterns = [re.compile(glob_translate(glob.removeprefix("./"))) for glob in globs]
    return [path for path in sorted(paths) if not patterns or any(pattern.match(path) for pattern in patterns)]


def parquet_only(paths: Sequence[str], *, where: str, chosen_by: str) -> list[str]:
    """The Parquet files among the paths. Raises CatalogError, saying what there is instead, when there are none."""
    parquet = [path for path in paths if path.endswith(".parquet")]
    if parquet:
        return parquet
    if not paths:
        raise CatalogError(f"{where}: no file{chosen_by}")
    kinds = sorted({f".{path.rpartition('/')[2].rpartition('.')[2]}" for path in paths})
    raise CatalogError(f"{where}: no Parquet file{chosen_by}; {len(paths)} files of other kinds: {' '.join(kinds[:8])}")


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
