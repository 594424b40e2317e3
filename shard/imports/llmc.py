"""llm.c and modded-nanogpt: 256 int32 of header, then ids, the end-of-document id before every document.

Documents run across the ends of files: one belongs to the file that has its first id. The files of a split are one
stream, in the order of their names, and the id that begins each document is moved behind it.
Source: llmc/dataloader.h and dev/data/data_common.py, https://github.com/karpathy/llm.c.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.errors import SourceError
from shard.imports.blocks import Documents, by_end, chunks
from shard.imports.options import ImportOptions
from shard.imports.sources import Source, listed

_HEADER_BYTES = 1024
_TYPES = {(20240520, 1): "<u2", (20240801, 7): "<u4"}


def find(path: Path) -> list[Source]:
    return [Source(name, file, split) for name, file, split in listed(path, "*.bin")]


def read(sources: Sequence[Source], options: ImportOptions) -> Iterator[tuple[int, Documents]]:
    eod = options.require_eod("llmc")
    headers = [_read_header(source.payload) for source in sources]
    # [files] where each ends in the stream
    ends = np.cumsum([tokens for _, tokens in headers], dtype=np.int64)
    if not len(ends) or ends[-1] == 0:
        return
    dtypes = [dtype for dtype, _ in headers]
    position = 0
    for documents in by_end(_moved(sources, dtypes, eod), eod, str(sources[-1].payload)):
        # [documents] the file in which each begins
        files = np.searchsorted(ends, position + documents.offsets[:-1], side="right")
        for number in np.unique(files).tolist():
            first, past = np.searchsorted(files, (number, number + 1))
            start, end = documents.offsets[first], documents.offsets[past]
            yield number, Documents(documents.ids[start:end], documents.offsets[first : past + 1] - start)
        position += len(documents.ids)


def _moved(sources: Sequence[Source], dtypes: Sequence[np.dtype[Any]], eod: int) -> Iterator[NDArray[Any]]:
    """The stream without its first id, which comes at its end instead: so every document has the next one's."""
    first = True
    for source, dtype in zip(sources, dtypes, strict=True):
        for ids in chunks(source.payload, dtype, skip=_HEADER_BYTES):
            if first and ids[0] != eod:
                raise SourceError(
                    f"{source.payload}: begins with id {ids[0]}, not with the end-of-document id ({eod}): the file "
                    "before it is missing, or --eod is another"
                )
            yield ids[1:] if first else ids
            first = False
    yield np.array([eod], dtype=dtypes[-1])


def _read_header(path: Path) -> tuple[np.dtype[Any], int]:
    """(type of the ids, number of them)."""
    header = np.fromfile(path, dtype="<i4", count=_HEADER_BYTES // 4)
    if len(header) < _HEADER_BYTES // 4:
        raise SourceError(f"{path}: {path.stat().st_size} bytes are too few for the header of llm.c")
    magic, version, tokens = header[:3].tolist()
    if (magic, version) not in _TYPES:
        raise SourceError(f"{path}: magic {magic}, version {version}: no file of llm.c with tokens")
    dtype = np.dtype(_TYPES[magic, version])
    size, needed = path.stat().st_size, _HEADER_BYTES + tokens * dtype.itemsize
    if size != needed:
        raise SourceError(f"{path}: {size} bytes; its header says {tokens} tokens, which take {needed}")
    return dtype, tokens
