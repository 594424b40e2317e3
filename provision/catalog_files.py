"""Catalog of a directory on this machine or behind any fsspec URL."""

import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from provision.catalog import Catalog, DatasetSpec, SourceFile, choose, parquet_only
from provision.errors import CatalogError
from shard.errors import SourceError
from shard.job import Dataset
from shard.source import files
from shard.source.parquet import open_parquet, require_text_column


def files_catalog(spec: DatasetSpec) -> Catalog:
    """List a directory or URL.

    Raises CatalogError when it is missing, empty, without Parquet, unreadable, or without the text column.
    """
    if spec.revision is not None or spec.config is not None:
        raise CatalogError(f"{spec.name}: --revision and --config are for datasets on the Hub; use --include")
    root = spec.name if "://" in spec.name else str(Path(spec.name).expanduser().absolute())
    try:
        fs, base = files.filesystem(root)
        listed: dict[str, Any] = fs.find(base, detail=True)
    except (ValueError, ImportError, OSError) as error:
        raise CatalogError(f"{spec.name}: cannot be listed: {error}") from error
    if not listed:
        raise CatalogError(f"{spec.name}: no such directory, or an empty one")
    relative = {str(PurePosixPath(path).relative_to(base)): path for path in listed if "/." not in f"/{path}"}
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
        _require_column(fs, relative[paths[0]], spec, where=f"{spec.name}/{paths[0]}", size=sources[0].size)
    except OSError as error:
        raise CatalogError(f"{spec.name}: cannot be read: {error}") from error
    revision = hashlib.sha256(msgspec.json.encode(sources)).hexdigest()
    dataset = Dataset(kind="files", name=spec.name, root=root, revision=revision, text_column=spec.text_column)
    return Catalog(dataset, sources)


def _require_column(fs: Any, path: str, spec: DatasetSpec, *, where: str, size: int) -> None:
    if size == 0:
        return  # a damaged first file is the worker's to report, with the rest done
    with fs.open(path) as file:
        try:
            parquet = open_parquet(file, where=where)
        except SourceError:
            return
        try:
            require_text_column(parquet, spec.text_column, where=where)
        except SourceError as error:
            raise CatalogError(str(error)) from error
