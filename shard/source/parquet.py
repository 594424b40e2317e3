"""Row groups of a Parquet file → batches of text."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from os import SEEK_END
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shard.batch import TextBatch
from shard.errors import SourceError, SourceKindError, SourceReadError
from shard.records.unit import Unit
from shard.source.spans import Span
from shard.source.strings import BATCH_BYTES, BATCH_ROWS_MOST, is_list, require_strings, text_batch

_PAGE_BUFFER_BYTES = 1 << 20
_END_BYTES = 8
_ENCRYPTED_MAGIC = b"PARE"
_SIGNATURE_BYTES = 28
"""Behind a footer that can be read, though columns are encrypted: nonce and tag, which its length counts."""


@dataclass(frozen=True, slots=True)
class RowGroups:
    """The row groups that a unit owns."""

    indices: tuple[int, ...]
    row_start: int
    """First row in the file (inclusive)."""
    row_end: int
    """End (exclusive)."""
    file_rows: int
    spans: tuple[Span, ...]
    """Bytes of the text column, one span a row group, in file order."""
    batch_rows: tuple[int, ...]
    """Rows to decode at once, for each row group, so that a batch holds about 4 MiB of text."""


def open_parquet(source: Any, *, where: str) -> pq.ParquetFile:
    """Open a path or file object; page by page, so that memory does not grow with the row group.

    Raises SourceError when it is no Parquet file; SourceKindError when it is encrypted, or some of its columns are.
    """
    try:
        end = _end_of(source)
        if end.endswith(_ENCRYPTED_MAGIC):
            raise SourceKindError(f"{where}: encrypted Parquet; write it again without encryption")
        # pre_buffer keeps the compressed bytes of every row group until the last one is read.
        file = pq.ParquetFile(source, buffer_size=_PAGE_BUFFER_BYTES, page_checksum_verification=True, pre_buffer=False)
    except (pa.ArrowException, ValueError) as error:
        raise SourceError(f"{where}: not a whole Parquet file: {error}") from error
    except OSError as error:
        raise SourceReadError(f"{where}: {error}") from error
    # To ask Arrow about an encrypted column ends the process.
    if int.from_bytes(end[:4], "little") - file.metadata.serialized_size == _SIGNATURE_BYTES:
        file.close()
        raise SourceKindError(f"{where}: columns of it are encrypted; write it again without encryption")
    return file


def _end_of(source: Any) -> bytes:
    """The last bytes of a path or file object: length of the footer, magic."""
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        file.seek(max(0, file.seek(0, SEEK_END) - _END_BYTES))
        data: bytes = file.read(_END_BYTES)
    return data


def require_text_column(file: pq.ParquetFile, column: str, *, where: str) -> None:
    """Raise SourceKindError unless `column` is a top-level column of strings, or of lists of them."""
    require_strings(file.schema_arrow, column, where=where)
    _leaf(file, column, where)


def row_groups_of(unit: Unit, file: pq.ParquetFile, column: str, *, where: str) -> RowGroups:
    """The row groups whose first byte lies in the unit's part of the file."""
    metadata = file.metadata
    leaf = _leaf(file, column, where)
    indices: list[int] = []
    spans: list[Span] = []
    batch_rows: list[int] = []
    row, row_start, row_end = 0, None, 0
    first_byte = 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        # Never backwards, so that a part is a contiguous range of rows even where groups are stored out of order; and
        # never past the end, so that no group belongs to nobody.
        first_byte = min(max(first_byte, _first_byte(group)), unit.size - 1)
        if unit.byte_start <= first_byte < unit.byte_end:
            chunk = group.column(leaf)
            start = _chunk_start(chunk)
            spans.append(Span(start, start + chunk.total_compressed_size))
            indices.append(index)
            row_start = row if row_start is None else row_start
            row_end = row + group.num_rows
            per_row = max(1, chunk.total_uncompressed_size // max(1, group.num_rows))
            batch_rows.append(max(1, min(BATCH_ROWS_MOST, BATCH_BYTES // per_row)))
        elif first_byte < unit.byte_start:
            row_end = row + group.num_rows  # an empty part stands where it would have begun
        row += group.num_rows
    return RowGroups(
        indices=tuple(indices),
        row_start=row_end if row_start is None else row_start,
        row_end=row_end,
        file_rows=metadata.num_rows,
        spans=tuple(spans),
        batch_rows=tuple(batch_rows),
    )


def read_texts(file: pq.ParquetFile, groups: RowGroups, column: str, *, where: str) -> Iterator[TextBatch]:
    """Decode the groups' text column, batch by batch.

    Raises SourceReadError when pages are damaged or the file ends early: with bytes from a network another attempt
    may succeed.
    """
    rows = 0
    batches = _batches(file, groups, column)
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise SourceReadError(f"{where}: after row {groups.row_start + rows}: {error}") from error
        if batch is None:
            break
        rows += batch.num_rows
        yield text_batch(batch.column(0))
    if rows != groups.row_end - groups.row_start:
        raise SourceReadError(
            f"{where}: {rows} rows where its footer says {groups.row_end - groups.row_start}: the file is damaged"
        )


def _batches(file: pq.ParquetFile, groups: RowGroups, column: str) -> Iterator[Any]:
    """Record batches; small row groups are decoded together with neighbours whose rows are about as long."""
    start = 0
    while start < len(groups.indices):
        rows = groups.batch_rows[start]
        end = start + 1
        while end < len(groups.indices) and rows <= 2 * groups.batch_rows[end] <= 4 * rows:
            end += 1
        yield from file.iter_batches(
            batch_size=min(groups.batch_rows[start:end]),
            row_groups=list(groups.indices[start:end]),
            columns=[column],
            use_threads=False,
        )
        start = end


def _leaf(file: pq.ParquetFile, column: str, where: str) -> int:
    """Number of the column, as the footer counts them, that holds the text. Raises SourceKindError."""
    leaves = enumerate(map(file.metadata.schema.column, range(file.metadata.num_columns)))
    # By path: a nested field may have the same name. Elements of a list are below it, under a name that varies.
    if is_list(file.schema_arrow.field(column).type):
        found = [n for n, leaf in leaves if leaf.path.startswith(f"{column}.") and leaf.max_repetition_level == 1]
    else:
        found = [n for n, leaf in leaves if leaf.path == column]
    if len(found) != 1:
        raise SourceKindError(f"{where}: column {column!r} is not a plain column of strings, or of lists of them")
    return found[0]


def _chunk_start(chunk: Any) -> int:
    # The dictionary page, when there is one, comes first.
    start: int = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    return start


def _first_byte(group: Any) -> int:
    return min(_chunk_start(group.column(index)) for index in range(group.num_columns)) if group.num_columns else 0
