"""A pack index: which pieces of documents make up each row; worked out once, kept in a file, memory-mapped.

Layout, little-endian: 8 bytes magic, uint64 rows, uint64 pieces, 8 bytes of nothing; a record for each piece, row by
row: int64 place (first token in the directory * 4 + flags), int32 length in tokens, int32 column; int64[rows + 1] the
number of the first piece of each row.
"""

import fcntl
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.errors import LoaderError
from shard.storage.disk import disk_full_named, fsync_directory

CONTINUES = 1
"""The piece begins within its document."""
GOES_ON = 2
"""The document goes on after the piece."""

PIECE = np.dtype([("place", "<i8"), ("length", "<i4"), ("column", "<i4")])
_HEADER = struct.Struct("<8sQQ8x")
_MAGIC = b"SFPACK\x00\x01"


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows, as a packing makes them."""

    pieces: NDArray[Any]
    """[pieces] of PIECE."""
    counts: NDArray[np.int64]
    """[rows] pieces of each."""


@dataclass(frozen=True, eq=False)
class PackIndex:
    """A file of the layout above."""

    records: NDArray[Any]
    """[pieces] of PIECE."""
    firsts: NDArray[np.int64]
    """[rows + 1]"""

    @property
    def rows(self) -> int:
        return len(self.firsts) - 1

    def pieces(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """([pieces] which of these rows each belongs to, [pieces] of PIECE), row by row."""
        first = self.firsts[rows]
        counts = self.firsts[rows + 1] - first
        row = np.repeat(np.arange(len(rows)), counts)
        before = np.cumsum(counts) - counts
        return row, self.records[np.repeat(first - before, counts) + np.arange(len(row))]


def pack_index(directory: Path, name: str, make: Callable[[], Iterator[Rows]]) -> PackIndex:
    """The index of this name, made first where it is not there yet. Raises LoaderError, DiskFullError.

    Of several processes that want it, one makes it and the others wait.
    """
    path = directory / f"{name}.pack"
    found = _open(path)
    if found is not None:
        return found
    with _alone(directory, name):
        found = _open(path)
        if found is None:
            _write(path, make())
            found = _open(path)
    if found is None:
        raise LoaderError(f"{path}: not as it was written a moment ago; choose another cache_dir")
    return found


def _open(path: Path) -> PackIndex | None:
    """None where there is no whole index."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
            size = os.fstat(file.fileno()).st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(header) < _HEADER.size:
        return None
    magic, rows, pieces = _HEADER.unpack(header)
    end = _HEADER.size + pieces * PIECE.itemsize
    if magic != _MAGIC or size != end + 8 * (rows + 1):
        return None
    # Plain arrays: the class numpy.memmap makes every later step slower.
    whole = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    return PackIndex(whole[_HEADER.size : end].view(PIECE), whole[end:].view("<i8"))


def _write(path: Path, parts: Iterator[Rows]) -> None:
    """Part by part under a temporary name; memory holds eight bytes a row."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    counts: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]
    pieces = 0
    try:
        with disk_full_named(path), temporary.open("wb") as file:
            file.write(bytes(_HEADER.size))
            for part in parts:
                file.write(part.pieces.astype(PIECE, copy=False).tobytes())
                counts.append(part.counts)
                pieces += len(part.pieces)
            firsts = np.cumsum(np.concatenate(counts))
            file.write(firsts.astype("<i8").tobytes())
            file.seek(0)
            file.write(_HEADER.pack(_MAGIC, len(firsts) - 1, pieces))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _alone(directory: Path, name: str) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / f"{name}.lock").open("wb")
    except OSError as error:
        raise LoaderError(
            f"{directory}: no place for pack indexes: {error.strerror}; choose another cache_dir"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
