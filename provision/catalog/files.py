"""Catalog of a directory on this machine or behind any fsspec URL."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from provision.catalog.look import LOOKED_INTO, has_text_column
from provision.catalog.types import Catalog, DatasetSpec, SourceFile, choose, parquet_only
from provision.errors import CatalogError
from shard.errors import SourceError
from shard.job import Dataset
from shard.source import files


def files_catalog(spec: DatasetSpec) -> Catalog:
    """List a directory or URL.

    Raises CatalogError when it is missing, empty, without Parquet, unreadable, or without the text column.
    """
    if spec.revision is not None or spec.config is not None:
        raise CatalogError(f"{spec.name}: --revision and --config are for datasets on the Hub; use --include")
    try:
        root = spec.name if "://" in spec.name else str(Path(spec.name).expanduser().absolute())
        fs, base = files.filesystem(root)
        listed: dict[str, Any] = fs.find(base, detail=True)
    except Exception as error:  # drivers have errors of their own, of any class
        raise CatalogError(f"{spec.name}: cannot be listed: {type(error).__name__}: {error}") from error
    if not listed:
        raise CatalogError(f"{spec.name}: no such directory, or an empty one")
    if base in listed:
        raise CatalogError(f"{spec.name}: a file; give its directory, and --include {base.rpartition('/')[2]}")
    relative = {path.removeprefix(base).lstrip("/"): path for path in listed}
    relative = {path: full for path, full in relative.items() if "/." not in f"/{path}"}  # hidden ones are no data
    chosen_by = f" matches --include {' '.join(spec.include)}" if spec.include else ""
    paths = parquet_only(choose(list(relative), spec.include), where=spec.name, chosen_by=chosen_by)
    try:
        sources = tuple(
            SourceFile(
                path=path,
                size=int(listed[relative[path]]["size"]),
                content_id=files.content_id(fs, relative[path], listed[relative[path]]),
            )
            for path in paths
        )
        _look_for_column(fs, relative, sources, spec)
    except CatalogError:
        raise
    except Exception as error:  # as above; a size that the driver does not know is a TypeError
        raise CatalogError(f"{spec.name}: cannot be read: {type(error).__name__}: {error}") from error
    revision = hashlib.sha256(msgspec.json.encode(sources)).hexdigest()
    dataset = Dataset(kind="files", name=spec.name, root=root, revision=revision, text_column=spec.text_column)
    return Catalog(dataset, sources)


def _look_for_column(fs: Any, relative: Mapping[str, str], sources: Sequence[SourceFile], spec: DatasetSpec) -> None:
    """Look for the text column in the first file that can be opened. Raises CatalogError when it has none."""
    for source in [source for source in sources if source.size][:LOOKED_INTO]:
        with fs.open(relative[source.path]) as file:
            try:
                if has_text_column(file, spec.text_column, where=f"{spec.name}/{source.path}"):
                    return
            except SourceError as error:
                raise CatalogError(str(error)) from error
