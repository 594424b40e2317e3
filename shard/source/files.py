"""Source files in a directory or behind any fsspec URL, and how their content is identified."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import fsspec
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem

from shard.errors import SourceChangedError, SourceReadError
from shard.records.job import Dataset
from shard.records.unit import Unit

_TAIL_BYTES = 64 << 10


@lru_cache(maxsize=8)
def filesystem(root: str) -> tuple[Any, str]:
    """The file system of a directory or URL, and the root's path in it. Raises ValueError, ImportError or OSError."""
    return fsspec.core.url_to_fs(root)  # type: ignore[no-any-return]


def listed(fs: Any, base: str) -> dict[str, Any]:
    """Path → facts of every file below a directory, or of a file itself; hidden directories are not looked into.

    Nothing where there is no such directory. Raises what the driver does for a directory that cannot be listed: where
    fsspec goes through directories, and does not ask a store for all it has, it leaves such out without a word.
    """
    kind = type(fs)
    walks = (
        kind._find is AsyncFileSystem._find if isinstance(fs, AsyncFileSystem) else kind.find is AbstractFileSystem.find
    )
    if not walks:
        return dict(fs.find(base, detail=True))
    found: dict[str, Any] = {}
    directories, seen = [base], {base}
    while directories:
        directory = directories.pop()
        try:
            entries = fs.ls(directory, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            if directory != base:
                raise
            return {}
        for info in entries:
            path = info["name"].rstrip("/")
            if info["type"] != "directory" or path == directory:
                found[path] = info
            elif path not in seen and not _holds_no_data(path):
                seen.add(path)
                directories.append(path)
    return found or ({base: {}} if fs.isfile(base) else {})


def _holds_no_data(directory: str) -> bool:
    name = directory.rpartition("/")[2]
    return name.startswith(".") or name == "lost+found"  # of the file system, and for root alone


def local_path(fs: Any, path: str) -> Path | None:
    """The path itself where the file system is this machine's."""
    return Path(path) if isinstance(fs, LocalFileSystem) else None


def content_id(fs: Any, path: str, info: Mapping[str, Any]) -> str:
    """What the file holds, without reading all of it.

    The etag where the store has one, else a hash over size and last 64 KiB: a Parquet footer holds offsets, sizes and
    statistics of every page run, so other content has another footer, and a copy has the same.
    """
    etag = info.get("ETag") or info.get("etag")
    if etag:
        return f"etag:{str(etag).strip(chr(34))}"
    size = int(info["size"])
    tail = fs.cat_file(path, start=max(0, size - _TAIL_BYTES), end=size) if size else b""
    return f"tail:{hashlib.sha256(size.to_bytes(8, 'little') + tail).hexdigest()}"


def check_unchanged(fs: Any, path: str, dataset: Dataset, unit: Unit) -> None:
    """Raise SourceChangedError unless the file is the planned one, SourceReadError when it cannot be looked at."""
    where = f"{dataset.name}: {unit.path}"
    try:
        info = fs.info(path)
        found = content_id(fs, path, info)
    except FileNotFoundError as error:
        raise SourceChangedError(f"{where}: not there; every host must see {dataset.root}") from error
    except OSError as error:
        raise SourceReadError(f"{where}: {error}") from error
    if info["size"] != unit.size or found != unit.content_id:
        raise SourceChangedError(f"{where}: changed since it was planned; plan again")
