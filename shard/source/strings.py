"""Arrow's arrays of strings → batches of text."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shard.batch import TextBatch
from shard.errors import SourceKindError

BATCH_BYTES = 4 << 20
BATCH_ROWS_MOST = 4096


def require_strings(schema: Any, column: str, *, where: str) -> None:
    """Raise SourceKindError unless `column` is a top-level column of strings."""
    index = schema.get_field_index(column)
    if index < 0:
        raise SourceKindError(
            f"{where}: no column {column!r}; its columns are {', '.join(schema.names)}. Name one with --text-column"
        )
    found = schema.field(index).type
    value = found.value_type if pa.types.is_dictionary(found) else found
    if not (pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)):
        raise SourceKindError(f"{where}: column {column!r} holds {found}, not strings. Name another with --text-column")


def strings_of(documents: Iterable[bytes]) -> Any:
    """Bytes that may or may not be UTF-8 as an array of strings."""
    raw = pa.array(documents, pa.large_binary())
    return pa.Array.from_buffers(pa.large_string(), len(raw), raw.buffers(), 0)


def text_batch(array: Any) -> TextBatch:
    """An Arrow string array → documents; null, empty and ill-formed rows are dropped and counted."""
    rows = len(array)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    array = array.cast(pa.large_string())
    dropped = {"null": array.null_count, "empty": 0, "invalid_utf8": 0}
    if array.null_count:
        array = array.drop_null()
    lengths = pc.binary_length(array)
    empty = pc.sum(pc.equal(lengths, 0)).as_py() or 0
    if empty:
        array = array.filter(pc.greater(lengths, 0))
        dropped["empty"] = empty
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        valid = pa.array([_is_utf8(value) for value in array.cast(pa.large_binary())])
        dropped["invalid_utf8"] = len(array) - valid.true_count
        array = array.filter(valid)
    _, offset_buffer, data_buffer = array.buffers()
    # [documents + 1] int64 offsets; a sliced array starts anywhere in its buffers
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    if not len(array):
        offsets = np.zeros(1, dtype=np.int64)
    data = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer is not None else np.empty(0, dtype=np.uint8)
    if offsets[0] or offsets[-1] != len(data):
        data = data[offsets[0] : offsets[-1]]
        offsets = offsets - offsets[0]
    return TextBatch(data=data, offsets=offsets, rows=rows, dropped=dropped)


def _is_utf8(value: Any) -> bool:
    try:
        bytes(value.as_buffer()).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
