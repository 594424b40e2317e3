"""Readers that are no package, only a few lines of a trainer that many have copied: their rules, written anew.

nanoGPT maps a file of uint16 and takes windows anywhere; llm.c checks a header and takes batches one after the other;
modded-nanogpt checks the same header and finds documents by the id that begins them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[Any]

_HEADER_BYTES = 1024
_MAGIC, _VERSION = 20240520, 1
_LARGEST_SEEK = 2**31 - 1
"""llm.c computes where to seek in a C int."""


def nanogpt_batch(path: Path, rows: int, length: int, generator: np.random.Generator) -> tuple[Tokens, Tokens, Tokens]:
    """(starts, [rows, length] int64 inputs, labels): windows at random places, labels one token further."""
    data = np.memmap(path, dtype=np.uint16, mode="r")
    # The last window that still has a label for its last token.
    starts = generator.integers(0, len(data) - length, size=rows)
    inputs = np.stack([data[start : start + length].astype(np.int64) for start in starts])
    labels = np.stack([data[start + 1 : start + 1 + length].astype(np.int64) for start in starts])
    return starts, inputs, labels


def llmc_batches(paths: Sequence[Path], rows: int, length: int) -> Iterator[tuple[Tokens, Tokens]]:
    """([rows * length] inputs, labels) of every file in turn: what llm.c's loader gives one process in one epoch."""
    assert paths == sorted(paths)
    batch = rows * length
    for path in paths:
        count = _checked_count(path)
        assert path.stat().st_size == _HEADER_BYTES + 2 * count, "the size is exactly what the header says"
        assert count >= batch + 1, "a file must hold a batch and one label more"
        with path.open("rb") as file:
            for number in range((count - 1) // batch):
                place = _HEADER_BYTES + 2 * number * batch
                assert place <= _LARGEST_SEEK
                file.seek(place)
                tokens = np.frombuffer(file.read(2 * (batch + 1)), dtype="<u2")
                assert len(tokens) == batch + 1
                yield tokens[:-1], tokens[1:]


def modded_documents(paths: Sequence[Path], bos: int) -> Iterator[list[list[int]]]:
    """For every file the pieces that begin with `bos`: modded-nanogpt starts rows nowhere else.

    What stands before the first of a file, the end of a document of the file before, it never sees.
    """
    assert len(paths) > 1, "the next file is opened while the first is read"
    for path in sorted(paths):
        count = _checked_count(path)
        with path.open("rb") as file:
            file.seek(_HEADER_BYTES)
            data = file.read(2 * count)
        assert len(data) == 2 * count
        tokens = np.frombuffer(data, dtype="<u2")
        starts = np.flatnonzero(tokens == bos)
        assert len(starts), "a file without a beginning cannot be read"
        yield [piece.tolist() for piece in np.split(tokens, starts)[1:]]


def _checked_count(path: Path) -> int:
    header = np.fromfile(path, dtype="<i4", count=256)
    assert len(header) == 256
    magic, version, count = header[:3].tolist()
    assert (magic, version) == (_MAGIC, _VERSION)
    assert count > 0
    return int(count)
