"""Parquet for `datasets` and what trains from it: `train/train-00000-of-00012.parquet`, column `input_ids`.

A row is a document, or `context_length` tokens. The packed layout adds `attention_mask` (ones) and `labels` (a copy),
as TeenyTinyLlama wants them. Tokens are stored by BYTE_STREAM_SPLIT and zstd: dictionaries, the default, take a third
more.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shard.errors import JobError
from shard.export.options import ExportOptions
from shard.export.samples import left_over, windows
from shard.records import Split
from shard.stored import Stored

_USUAL_TOKENS = 250_000_000
_PACKED = pa.schema(
    {"input_ids": pa.list_(pa.int32()), "attention_mask": pa.list_(pa.int8()), "labels": pa.list_(pa.int64())}
)
Counted = tuple[Any, int]
"""A table, and how many tokens it holds."""
_FOLDERS: dict[Split, str] = {"train": "train", "holdout": "test"}


def write(stored: Stored, out: Path, options: ExportOptions) -> int:
    schema = pa.schema({"input_ids": pa.list_(pa.from_numpy_dtype(np.dtype(stored.record.dtype)))})
    tables = _documents(stored) if options.context_length is None else _rows(stored, options.context_length)
    _write(stored, out, options, schema, ((table.select(["input_ids"]).cast(schema), n) for table, n in tables))
    return left_over(stored, options.context_length)


def write_packed(stored: Stored, out: Path, options: ExportOptions) -> int:
    if options.context_length is None:
        raise JobError("parquet-packed needs --context-length: the tokens of a row (TeenyTinyLlama has 2048)")
    _write(stored, out, options, _PACKED, _rows(stored, options.context_length))
    return left_over(stored, options.context_length)


def _write(stored: Stored, out: Path, options: ExportOptions, schema: Any, tables: Iterator[Counted]) -> None:
    folder = _FOLDERS[stored.record.split]
    directory = out / folder
    directory.mkdir()
    most = options.shard_tokens or _USUAL_TOKENS
    columns = [name for name in schema.names if name != "attention_mask"]  # ones are nothing, however they are written
    made: list[Path] = []
    writer: pq.ParquetWriter | None = None
    held = 0
    try:
        for table, tokens in tables:
            if writer is None or held >= most:
                if writer is not None:
                    writer.close()
                made.append(directory / f"{len(made)}.parquet")
                writer, held = (
                    pq.ParquetWriter(
                        made[-1],
                        schema,
                        compression="zstd",
                        use_dictionary=False,
                        column_encoding={f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in columns},
                    ),
                    0,
                )
            writer.write_table(table)
            held += tokens
    finally:
        if writer is not None:
            writer.close()
    for number, path in enumerate(made):
        path.rename(directory / f"{folder}-{number:05d}-of-{len(made):05d}.parquet")


def _documents(stored: Stored) -> Iterator[Counted]:
    for block in stored.blocks():
        lists = pa.LargeListArray.from_arrays(pa.array(block.offsets), pa.array(block.tokens))
        yield pa.table({"input_ids": lists}), len(block.tokens)


def _rows(stored: Stored, length: int) -> Iterator[Counted]:
    for rows in windows(stored, length):
        # [samples + 1]
        ends = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * length)
        flat = rows.reshape(-1)
        lists = {
            "input_ids": flat.astype(np.int32),
            "attention_mask": np.ones(len(flat), dtype=np.int8),
            "labels": flat.astype(np.int64),
        }
        columns = [pa.ListArray.from_arrays(ends, pa.array(values)) for values in lists.values()]
        yield pa.table(columns, schema=_PACKED), len(flat)
