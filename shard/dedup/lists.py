"""Removal lists: a file for every shard, with a line for each document that goes."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from shard.dedup.parts import Duplicates, within
from shard.errors import JobError
from shard.records.shards import Split
from shard.storage.disk import fsync_directory, make_directory, write_atomic

Sizes = Sequence[tuple[str, int]]
"""(name of a shard, its documents), as numbered."""


def shard_name(stem: str, split: Split) -> str:
    """What a shard is called where those of both splits lie together: `000012.train`."""
    return f"{stem}.{split}"


def removed_of(duplicates: Duplicates, sizes: Sizes) -> dict[str, NDArray[np.int64]]:
    """[duplicates] positions within every shard, ascending, by its name."""
    return {
        name: within(duplicates.removed, int(first), count)
        for first, (name, count) in zip(_firsts(sizes), sizes, strict=True)
    }


def removed_sha256(lists: Iterable[NDArray[np.int64]]) -> str:
    """Of the positions of all shards."""
    digest = hashlib.sha256()
    for positions in lists:
        digest.update(len(positions).to_bytes(8, "little") + positions.astype("<i8").tobytes())
    return digest.hexdigest()


def write_lists(duplicates: Duplicates, sizes: Sizes, directory: Path) -> None:
    """Write `<name>.tsv` for every shard: position of a document that goes, shard of the one that stays, its position
    there."""
    make_directory(directory)
    firsts = _firsts(sizes)
    for first, (name, count) in zip(firsts.tolist(), sizes, strict=True):
        start, end = np.searchsorted(duplicates.removed, (first, first + count))
        kept = duplicates.kept[start:end]
        # [duplicates] the last shard that begins at or before the document; those without documents come before it
        owners = np.searchsorted(firsts, kept, side="right") - 1
        lines = zip(
            (duplicates.removed[start:end] - first).tolist(),
            (sizes[owner][0] for owner in owners.tolist()),
            (kept - firsts[owners]).tolist(),
            strict=True,
        )
        text = "".join(f"{position}\t{owner}\t{place}\n" for position, owner, place in lines)
        write_atomic(directory / f"{name}.tsv", text.encode(), durable=False)
    fsync_directory(directory)


def pack_lists(lists: Mapping[str, NDArray[np.int64]], path: Path) -> None:
    """Write the lists of some shards as one file, for who is to leave those documents out. Raises DiskFullError."""
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        for name, positions in lists.items():
            # Of one time: the same lists are the same bytes.
            archive.writestr(ZipInfo(name), positions.astype("<u4").tobytes())
    write_atomic(path, packed.getvalue())


def unpack_lists(path: Path, name: str) -> NDArray[np.int64]:
    """[duplicates] the list of one shard. Raises JobError where it is not there."""
    try:
        data = _opened(path).read(name)
    except (OSError, KeyError, BadZipFile) as error:
        raise JobError(f"{path}: no removal list of {name} ({error}); start dedup again to send it anew") from error
    return np.frombuffer(data, dtype="<u4").astype(np.int64)


@lru_cache(maxsize=1)
def _opened(path: Path) -> ZipFile:
    # Once, not for every shard: the table of contents of 10,000 units takes a tenth of a second to read.
    return ZipFile(path)


def _firsts(sizes: Sizes) -> NDArray[np.int64]:
    """[shards] number of each one's first document."""
    return np.cumsum([0, *(count for _, count in sizes)], dtype=np.int64)[:-1]
