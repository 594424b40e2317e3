"""Arrow's arrays of strings, and of lists of strings → batches of text."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shard.batch import TextBatch
from shard.errors import SourceKindError

BATCH_BYTES = 4 << 20
BATCH_ROWS_MOST = 4096


def require_strings(schema: Any, column: str, *, where: str) -> None:
    """Raise SourceKindError unless `column` is a top-level column of strings, or of lists of them.

    One of nulls alone is: so is written what holds no text, of a file among others.
    """
    index = schema.get_field_index(column)
    if index < 0 and column in schema.names:
        raise SourceKindError(f"{where}: has several columns {column!r}; write it again with names that differ")
    if index < 0:
        raise SourceKindError(
            f"{where}: no column {column!r}; its columns are {', '.join(schema.names)}. Name one with --text-column"
        )
    found = schema.field(index).type
    types = pa.types
    value = found.value_type if is_list(found) or types.is_dictionary(found) else found
    if not any(known(value) for known in (types.is_string, types.is_large_string, types.is_string_view, types.is_null)):
        raise SourceKindError(
            f"{where}: column {column!r} holds {found}, neither strings nor lists of them. "
            "Name another with --text-column"
        )


def is_list(kind: Any) -> bool:
    """Whether rows of this Arrow type are lists of any kind."""
    types = pa.types
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )


def strings_of(documents: Iterable[bytes]) -> Any:
    """Bytes that may or may not be UTF-8 as an array of strings."""
    raw = pa.array(documents, pa.large_binary())
    return pa.Array.from_buffers(pa.large_string(), len(raw), raw.buffers(), 0)


def joined(arrays: Sequence[Any]) -> Any:
    """Arrays of large strings, or of lists of them, in a row; strings become lists of one where there are lists."""
    if any(is_list(array.type) for array in arrays):
        return pa.concat_arrays([array if is_list(array.type) else _as_lists(array) for array in arrays])
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays or [strings_of([])])


def _as_lists(array: Any) -> Any:
    # [rows + 1] int32: one string each
    offsets = pa.array(np.arange(len(array) + 1, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, array, mask=array.is_null() if array.null_count else None)


def text_batch(array: Any) -> TextBatch:
    """An Arrow array of strings, or of lists of them → documents.

    Null, empty and ill-formed rows are dropped and counted.
    """
    if is_list(array.type):
        return _of_lists(array)
    rows = len(array)
    array = _large(array)
    dropped = {"null": array.null_count, "empty": 0, "invalid_utf8": 0}
    if array.null_count:
        array = array.drop_null()
    lengths = pc.binary_length(array)
    empty = pc.sum(pc.equal(lengths, 0)).as_py() or 0
    if empty:
        array = array.filter(pc.greater(lengths, 0))
        dropped["empty"] = empty
    valid = _well_formed(array)
    if valid is not None:
        dropped["invalid_utf8"] = len(array) - int(valid.sum())
        array = array.filter(pa.array(valid))
    data, offsets = _content(array)
    return TextBatch(data=data, offsets=offsets, rows=rows, dropped=dropped)


def _of_lists(array: Any) -> TextBatch:
    """Every list is one document of several sequences.

    Null and empty elements are no sequences; a list without any other is dropped as empty, and one with an element that
    is ill-formed as a whole.
    """
    rows = len(array)
    sizes = pc.list_value_length(array)
    # [lists that are not null] int64: elements of each
    sizes = sizes.drop_null().to_numpy(zero_copy_only=False).astype(np.int64)
    values = _large(array.flatten())
    # [elements] int64, bool: number of its list; whether it is a sequence
    owner = np.repeat(np.arange(len(sizes)), sizes)
    kept = pc.fill_null(pc.greater(pc.binary_length(values), 0), False).to_numpy(zero_copy_only=False)
    # [lists] bool
    some, ill = np.zeros(len(sizes), dtype=np.bool_), np.zeros(len(sizes), dtype=np.bool_)
    some[owner[kept]] = True
    valid = _well_formed(values)
    if valid is not None:
        ill[owner[~valid]] = True
        kept = kept & ~ill[owner]
    data, sequences = _content(values if kept.all() else values.filter(pa.array(kept)))
    # [lists] int64: sequences of each
    counts = np.bincount(owner[kept], minlength=len(sizes))
    offsets = sequences[np.concatenate(([0], np.cumsum(counts[counts > 0])))]
    dropped = {"null": rows - len(sizes), "empty": int((~some).sum()), "invalid_utf8": int(ill.sum())}
    return TextBatch(data=data, offsets=offsets, rows=rows, dropped=dropped, sequences=sequences)


def _large(array: Any) -> Any:
    """Strings however they are stored, as large ones."""
    if pa.types.is_dictionary(array.type):
        # Not dictionary_decode(), which does not know all of them.
        return array.dictionary.cast(pa.large_string()).take(array.indices)
    return array.cast(pa.large_string())


def _well_formed(array: Any) -> NDArray[np.bool_] | None:
    """[rows] bool: which large strings are UTF-8, or null; None when all are."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return np.array([_is_utf8(value) for value in array.cast(pa.large_binary())], dtype=np.bool_)
    return None


def _content(array: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(bytes of large strings without nulls back to back, where each begins in them [rows + 1])."""
    _, offset_buffer, data_buffer = array.buffers()
    # [rows + 1] int64; a sliced array starts anywhere in its buffers
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    if not len(array):
        offsets = np.zeros(1, dtype=np.int64)
    data = np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer is not None else np.empty(0, dtype=np.uint8)
    if offsets[0] or offsets[-1] != len(data):
        data = data[offsets[0] : offsets[-1]]
        offsets = offsets - offsets[0]
    return data, offsets


def _is_utf8(value: Any) -> bool:
    if not value.is_valid:
        return True
    try:
        bytes(value.as_buffer()).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
