"""datatrove: `*.ds` of nothing but ids, `*.ds.index` with the end of every document in tokens (uint64).

How wide the ids are follows from both sizes. Source: datatrove.utils.dataset.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from shard.errors import SourceError
from shard.imports.blocks import Documents, by_lengths
from shard.imports.options import ImportOptions
from shard.imports.sources import Source, listed

_TYPES = {2: "<u2", 4: "<u4"}


def find(path: Path) -> list[Source]:
    return [
        Source(name, file, split, file.with_name(f"{file.name}.index")) for name, file, split in listed(path, "*.ds")
    ]


def read(sources: Sequence[Source], options: ImportOptions) -> Iterator[tuple[int, Documents]]:
    for number, source in enumerate(sources):
        index = source.index or source.payload
        if index.stat().st_size % 8:
            raise SourceError(f"{index}: {index.stat().st_size} bytes are no multiple of 8: cut short")
        # [documents] int64
        ends = np.fromfile(index, dtype="<u8").astype(np.int64)
        tokens, size = (int(ends[-1]) if len(ends) else 0), source.payload.stat().st_size
        width = size // tokens if tokens > 0 else 2
        if size != tokens * width or width not in _TYPES:
            raise SourceError(
                f"{source.payload}: {size} bytes; the {tokens} tokens of {index.name} take {2 * tokens} or {4 * tokens}"
            )
        for documents in by_lengths(source.payload, np.dtype(_TYPES[width]), np.diff(ends, prepend=0), index):
            yield number, documents
