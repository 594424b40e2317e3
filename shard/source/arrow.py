"""Record batches of Arrow IPC files and streams (Feather, `save_to_disk`) → batches of text."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa

from shard.batch import TextBatch
from shard.errors import SourceError, SourceReadError
from shard.source.spanfile import SpanFile
from shard.source.strings import BATCH_BYTES, BATCH_ROWS_MOST, is_list, require_strings, text_batch

_FILE = b"ARROW1"
_FEATHER_1 = b"FEA1"
_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
_LISTS = {
    pa.ListType: pa.list_,
    pa.LargeListType: pa.large_list,
    pa.ListViewType: pa.list_view,
    pa.LargeListViewType: pa.large_list_view,
}
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


class ArrowFile:
    """An IPC file, which has a footer, or a stream, which `datasets` writes. One column of it is decoded."""

    def __init__(self, source: Path | SpanFile, column: str, stack: ExitStack, *, where: str) -> None:
        """Closed with `stack`. Raises SourceError when it is neither, or has no such column of strings."""
        self._where = where
        try:
            file = pa.memory_map(str(source)) if isinstance(source, Path) else pa.PythonFile(source, mode="r")
            self._file = stack.enter_context(file)
            self._size: int = file.size()
            magic = self._read(0, len(_FILE))
            if magic.startswith(_FEATHER_1):
                raise SourceError(f"{where}: Feather version 1, which nobody writes any more; write it again")
            self._is_file = magic == _FILE
            if not self._is_file and self._read(max(0, self._size - 8), 8) != _END_OF_STREAM:
                raise SourceReadError(f"{where}: no Arrow file, and no Arrow stream with its end: cut short?")
            schema = self._reader().schema
            require_strings(schema, column, where=where)
            self._batches = self._reader([schema.get_field_index(column)])
        except (pa.ArrowException, ValueError) as error:
            raise SourceError(f"{where}: not a whole Arrow file or stream: {error}") from error
        except OSError as error:
            raise SourceReadError(f"{where}: {error}") from error

    def texts(self) -> Iterator[TextBatch]:
        """Raises SourceReadError when it is damaged."""
        rows = 0
        batches = self._record_batches()
        while True:
            try:
                batch = next(batches, None)
                if batch is None:
                    self._require_end(rows)
                    return
                array = batch.column(0)
                _require_sound(array)
            except (pa.ArrowException, OSError) as error:
                raise SourceReadError(f"{self._where}: after row {rows}: {error}") from error
            rows += len(array)
            step = max(1, min(BATCH_ROWS_MOST, BATCH_BYTES * len(array) // max(1, array.get_total_buffer_size())))
            for start in range(0, len(array), step):
                yield text_batch(array.slice(start, step))

    def _require_end(self, rows: int) -> None:
        """Raise SourceReadError where a stream ends before the file does: Arrow looks no further."""
        if not self._is_file and self._file.tell() != self._size:
            raise SourceReadError(
                f"{self._where}: after row {rows}: another Arrow stream behind the first; a file is one of them"
            )

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        data: bytes = self._file.read(size)
        return data

    def _reader(self, fields: list[int] | None = None) -> Any:
        self._file.seek(0)
        options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        return (pa.ipc.open_file if self._is_file else pa.ipc.open_stream)(self._file, options=options)

    def _record_batches(self) -> Iterator[Any]:
        if not self._is_file:
            return iter(self._batches)
        return (self._batches.get_batch(index) for index in range(self._batches.num_record_batches))


def _require_sound(array: Any) -> None:
    """Raise ArrowInvalid where offsets lead out of the data. Ill-formed UTF-8 is another matter."""
    if pa.types.is_dictionary(array.type):
        values = array.dictionary.view(_as_bytes(array.dictionary.type))
        pa.DictionaryArray.from_arrays(array.indices, values, safe=False).validate(full=True)
    else:
        array.view(_as_bytes(array.type)).validate(full=True)


def _as_bytes(kind: Any) -> Any:
    """The type whose values are bytes, of which any are well-formed, for strings and lists of them; else the same."""
    if kind in _BYTES:
        return _BYTES[kind]
    if not is_list(kind):
        return kind
    child = kind.value_field.with_type(_as_bytes(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(child, kind.list_size)
    return _LISTS[type(kind)](child)
