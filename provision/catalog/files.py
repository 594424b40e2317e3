"""Catalog of a directory on this machine or behind any fsspec URL."""

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from provision.catalog.inputs import readable
from provision.catalog.look import look_for_text
from provision.catalog.split import of_split, split_notes
from provision.catalog.types import Catalog, DatasetSpec, SourceFile, choose
from provision.errors import CatalogError
from shard.errors import SourceReadError
from shard.records.job import Dataset
from shard.records.unit import Unit
from shard.source import files
from shard.source.spanfile import SpanFile


def files_catalog(spec: DatasetSpec) -> Catalog:
    """List a directory or URL.

    Raises CatalogError when it is missing, empty, without a file to read, unreadable, or without the text column.
    """
    if spec.revision is not None or spec.config is not None:
        raise CatalogError(f"{spec.name}: --revision and --config are for datasets on the Hub; use --include")
    try:
        root = spec.name if "://" in spec.name else str(Path(spec.name).expanduser().absolute())
        fs, base = files.filesystem(root)
        listed = files.listed(fs, base)
    except Exception as error:  # drivers have errors of their own, of any class
        raise CatalogError(f"{spec.name}: cannot be listed: {type(error).__name__}: {error}") from error
    if not listed:
        raise CatalogError(f"{spec.name}: no such directory, or an empty one")
    if base in listed:
        raise CatalogError(f"{spec.name}: a file; give its directory, and --include {base.rpartition('/')[2]}")
    relative = {path.removeprefix(base).lstrip("/"): path for path in listed}
    relative = {path: full for path, full in relative.items() if "/." not in f"/{path}"}  # hidden ones are no data
    links = {path for path, full in relative.items() if listed[full].get("islink") and Path(full).is_dir()}
    unfollowed = f"links to directories are not followed ({', '.join(sorted(links))}); give the directories themselves"
    if links == relative.keys():
        raise CatalogError(f"{spec.name}: no file; {unfollowed}")
    relative = {path: full for path, full in relative.items() if path not in links}
    chosen_by = f" matches --include {' '.join(spec.include)}" if spec.include else ""
    chosen = choose(list(relative), spec.include)
    if spec.split is not None:
        chosen = of_split(chosen, spec.split, where=spec.name)
    taken = readable(chosen, relative, spec.input, included=bool(spec.include), where=spec.name, chosen_by=chosen_by)
    try:
        sources = tuple(_source(fs, path, relative[path], listed[relative[path]]) for path in taken.paths)
        revision = hashlib.sha256(msgspec.json.encode(sources)).hexdigest()
        dataset = Dataset(
            kind="files",
            name=spec.name,
            root=root,
            revision=revision,
            text_column=spec.text_column,
            input=taken.form,
        )
        look_for_text(dataset, sources, partial(_open, fs, relative))
    except CatalogError:
        raise
    except Exception as error:  # as above
        raise CatalogError(f"{spec.name}: cannot be read: {type(error).__name__}: {error}") from error
    notes = () if spec.include or spec.split else split_notes(taken.paths)
    return Catalog(dataset, sources, (*notes, *taken.notes, *([unfollowed] if links else [])))


def _source(fs: Any, path: str, full: str, info: Mapping[str, Any]) -> SourceFile:
    local = files.local_path(fs, full)
    if local is not None and not local.is_file():  # who opens a pipe waits
        raise CatalogError(
            f"{full}: a pipe, a socket, a device, or a link that leads to no file; remove it, or choose files with "
            "--include"
        )
    if info.get("size") is None:  # a page of links, as HTTP servers list directories
        info = fs.info(full)
    if info.get("size") is None:
        raise CatalogError(f"{full}: the server does not say how large it is; download the files and give their folder")
    return SourceFile(path=path, size=int(info["size"]), content_id=files.content_id(fs, full, info))


def _open(fs: Any, relative: Mapping[str, str], unit: Unit, stack: ExitStack) -> Path | SpanFile:
    path = relative[unit.path]
    if (local := files.local_path(fs, path)) is not None:
        return local

    def fetch(start: int, end: int) -> bytes:
        try:
            data: bytes = fs.cat_file(path, start=start, end=end)
        except OSError as error:
            raise SourceReadError(f"{unit.path}: {error}") from error
        return data

    file = SpanFile(fetch, unit.size)
    stack.callback(file.close)
    return file
