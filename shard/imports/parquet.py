"""Parquet with a column `input_ids` of lists of integers: a row is a document.

Other columns, such as a mask or labels, are left where they are.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shard.errors import SourceError
from shard.imports.blocks import Documents
from shard.imports.options import ImportOptions
from shard.imports.sources import Source, listed

_COLUMN = "input_ids"
_ROWS = 4096


def find(path: Path) -> list[Source]:
    return [Source(name, file, split) for name, file, split in listed(path, "*.parquet")]


def read(sources: Sequence[Source], options: ImportOptions) -> Iterator[tuple[int, Documents]]:
    for number, source in enumerate(sources):
        try:
            with pq.ParquetFile(source.payload) as file:
                for documents in _documents(file, source.payload):
                    yield number, documents
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{source.payload}: cannot be read as Parquet: {error}") from error


def _documents(file: pq.ParquetFile, path: Path) -> Iterator[Documents]:
    if _COLUMN not in file.schema_arrow.names:
        raise SourceError(f"{path}: has no column {_COLUMN}; its columns are {', '.join(file.schema_arrow.names)}")
    kind = file.schema_arrow.field(_COLUMN).type
    a_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not a_list or not pa.types.is_integer(kind.value_type):
        raise SourceError(f"{path}: column {_COLUMN} is of {kind}, not of lists of integers")
    for batch in file.iter_batches(batch_size=_ROWS, columns=[_COLUMN]):
        column = batch.column(0).cast(pa.large_list(kind.value_type))
        if column.null_count or column.flatten().null_count:
            raise SourceError(f"{path}: a row, or an id, of {_COLUMN} is null")
        ids: Any = column.flatten().to_numpy()
        # [rows + 1] int64, from 0 on also in a slice
        offsets = column.offsets.to_numpy()
        yield Documents(ids, (offsets - offsets[0]).astype(np.int64))
