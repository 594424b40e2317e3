"""Parquet for `datasets` and what trains from it: `train/train-00000-of-00012.parquet`, column `input_ids`.

A row is a document, or `context_length` tokens. The packed layout adds `attention_mask` (ones) and `labels` (a copy),
as TeenyTinyLlama wants them. Tokens are stored by BYTE_STREAM_SPLIT and zstd: dictionaries, the default, take a third
more.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shard.errors import JobError
from shard.export.options import ExportOptions
from shard.export.samples import left_over, windows
from shard.loader.permutation import key_of, permute
from shard.records.shards import Split
from shard.storage.stored import Stored

_USUAL_TOKENS = 250_000_000
_PACKED = pa.schema(
    {"input_ids": pa.list_(pa.int32()), "attention_mask": pa.list_(pa.int8()), "labels": pa.list_(pa.int64())}
)
Counted = tuple[Any, NDArray[np.int64]]
"""A table, and where its rows begin in the tokens that it holds [rows + 1]."""
_SEED = 42
"""Of the rows that --test-size draws, as TeenyTinyLlama has it."""
_FOLDERS: dict[Split, str] = {"train": "train", "holdout": "test"}


def write(stored: Stored, out: Path, options: ExportOptions) -> int:
    schema = pa.schema({"input_ids": pa.list_(pa.from_numpy_dtype(np.dtype(stored.record.dtype)))})
    tables = _documents(stored) if options.context_length is None else _rows(stored, options.context_length)
    with _Folder(out, _FOLDERS[stored.record.split], options, schema) as folder:
        for table, offsets in tables:
            folder.add(table.select(["input_ids"]).cast(schema), offsets)
    return left_over(stored, options.context_length)


def write_packed(stored: Stored, out: Path, options: ExportOptions) -> int:
    length = options.context_length
    if length is None:
        raise JobError("parquet-packed needs --context-length: the tokens of a row (TeenyTinyLlama has 2048)")
    chosen = _test_rows(stored.tokens // length, options.test_rows)
    first = 0
    with ExitStack() as stack:
        folder = stack.enter_context(_Folder(out, _FOLDERS[stored.record.split], options, _PACKED))
        test = stack.enter_context(_Folder(out, "test", options, _PACKED)) if len(chosen) else None
        for table, offsets in _rows(stored, length):
            if test is None:
                folder.add(table, offsets)
                continue
            here = np.searchsorted(chosen, (first, first + len(table)))
            # [rows] bool
            is_test = np.zeros(len(table), dtype=np.bool_)
            is_test[chosen[here[0] : here[1]] - first] = True
            for target, mask in ((folder, ~is_test), (test, is_test)):
                if mask.any():
                    target.add(table.filter(pa.array(mask)), offsets[: int(mask.sum()) + 1])
            first += len(table)
    return left_over(stored, length)


def _test_rows(rows: int, wanted: int | None) -> NDArray[np.int64]:
    """[wanted] int64, ascending: which of so many rows are for the test."""
    if wanted is None:
        return np.empty(0, dtype=np.int64)
    if wanted >= rows:
        raise JobError(f"--test-size {wanted}: there are {rows} rows in all, and some must be left to train on")
    return np.sort(permute(np.arange(wanted), rows, key_of(_SEED, 0, 0, b"test rows")))


class _Folder:
    """Files of about so many tokens in a folder, which get their final names at the end."""

    def __init__(self, out: Path, name: str, options: ExportOptions, schema: Any) -> None:
        self._directory = out / name
        self._directory.mkdir()
        self._most = options.shard_tokens or _USUAL_TOKENS
        self._schema = schema
        # ones are nothing, however they are written
        self._columns = [name for name in schema.names if name != "attention_mask"]
        self._made: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._held = 0

    def __enter__(self) -> "_Folder":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        for number, path in enumerate(self._made):
            path.rename(self._directory / f"{self._directory.name}-{number:05d}-of-{len(self._made):05d}.parquet")

    def add(self, table: Any, offsets: NDArray[np.int64]) -> None:
        """Rows, to as many files as they fill: a file ends with the row that brings it to the size, or over it."""
        row, rows = 0, len(table)
        while row < rows:
            writer = self._begin() if self._writer is None or self._held >= self._most else self._writer
            end = int(np.searchsorted(offsets, offsets[row] + self._most - self._held))
            end = min(max(end, row + 1), rows)
            writer.write_table(table.slice(row, end - row))
            self._held += int(offsets[end] - offsets[row])
            row = end

    def _begin(self) -> pq.ParquetWriter:
        if self._writer is not None:
            self._writer.close()
        self._made.append(self._directory / f"{len(self._made)}.parquet")
        self._held = 0
        self._writer = pq.ParquetWriter(
            self._made[-1],
            self._schema,
            compression="zstd",
            use_dictionary=False,
            column_encoding={f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in self._columns},
        )
        return self._writer


def _documents(stored: Stored) -> Iterator[Counted]:
    for block in stored.blocks():
        lists = pa.LargeListArray.from_arrays(pa.array(block.offsets), pa.array(block.tokens))
        yield pa.table({"input_ids": lists}), block.offsets


def _rows(stored: Stored, length: int) -> Iterator[Counted]:
    for rows in windows(stored, length):
        # [samples + 1] int64
        offsets = np.arange(len(rows) + 1, dtype=np.int64) * length
        ends = pa.array(offsets.astype(np.int32))
        flat = rows.reshape(-1)
        lists = {
            "input_ids": flat.astype(np.int32),
            "attention_mask": np.ones(len(flat), dtype=np.int8),
            "labels": flat.astype(np.int64),
        }
        columns = [pa.ListArray.from_arrays(ends, pa.array(values)) for values in lists.values()]
        yield pa.table(columns, schema=_PACKED), offsets
