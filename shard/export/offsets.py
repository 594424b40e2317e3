"""Files that begin with the number of their items and where each lies: uint32 count, uint32 offsets, (header,) items.

MDS shards and litdata chunks are such files. The offsets limit a file to 4 GiB.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from shard.errors import JobError

MOST_BYTES = (1 << 32) - 1
_COUNT = np.dtype("<u4")


def filled(items: Iterable[bytes], most_bytes: int, *, overhead: int) -> Iterator[list[bytes]]:
    """Items in files of at most `most_bytes`; a larger item has one to itself.

    Raises JobError for an item that no file can hold.
    """
    held: list[bytes] = []
    size = overhead
    for item in items:
        cost = len(item) + _COUNT.itemsize
        if overhead + 2 * _COUNT.itemsize + cost > MOST_BYTES:
            raise JobError(
                f"a document of {len(item)} bytes: offsets of 32 bits cannot hold it; cut with --context-length"
            )
        if held and size + cost > most_bytes:
            yield held
            held, size = [], overhead
        held.append(item)
        size += cost
    if held:
        yield held


def write(path: Path, items: list[bytes], header: bytes = b"") -> int:
    """Returns the size of the file."""
    first = _COUNT.itemsize * (len(items) + 2) + len(header)
    # [items + 1] uint32
    offsets = first + np.concatenate(([0], np.cumsum([len(item) for item in items], dtype=np.int64)))
    with path.open("wb") as file:
        file.write(np.array([len(items)], dtype=_COUNT).tobytes())
        file.write(offsets.astype(_COUNT).tobytes())
        file.write(header)
        file.writelines(items)
    return int(offsets[-1])


def in_files(
    items: Iterable[bytes], most_bytes: int, name: Callable[[int], Path], header: bytes = b""
) -> Iterator[tuple[Path, list[bytes], int]]:
    """Write the items in as many files as they need; (path, items, bytes) of each."""
    for number, held in enumerate(filled(items, most_bytes, overhead=len(header) + 2 * _COUNT.itemsize)):
        path = name(number)
        yield path, held, write(path, held, header)
