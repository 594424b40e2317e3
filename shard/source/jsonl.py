"""JSON lines → batches of text.

Arrow parses a block of lines at once, and no Python object is made per document. Where it refuses a block, the block is
halved until the line is found that is to blame, and only that one is read by the standard library.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.json as pj

from shard.batch import TextBatch
from shard.errors import SourceError
from shard.source.lines import Block, lines_in
from shard.source.strings import strings_of, text_batch

_WHITE_SPACE = b" \t\r"


class JsonLines:
    """Reads one column of the lines of one file, or of a part of it."""

    def __init__(self, column: str, *, where: str) -> None:
        """`where` is file and part, for errors."""
        self._column = column
        self._where = where
        self._options = pj.ParseOptions(
            explicit_schema=pa.schema([(column, pa.large_string())]), unexpected_field_behavior="ignore"
        )

    def texts(self, blocks: Iterable[Block]) -> Iterator[TextBatch]:
        """One batch a block. A line without the column, or with something else than a string there, is dropped and
        counted; a blank line is no row.

        Raises SourceError, with its number, for a line that is no JSON object.
        """
        for block in blocks:
            odd: Counter[str] = Counter()
            arrays = list(self._strings(block.data, 0, block, odd, block.lines))
            batch = text_batch(arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays or [strings_of([])]))
            dropped = {reason: batch.dropped.get(reason, 0) + odd[reason] for reason in (*batch.dropped, *odd)}
            yield TextBatch(batch.data, batch.offsets, batch.rows + odd.total(), dropped)

    def _strings(self, data: bytes, offset: int, block: Block, odd: Counter[str], lines: int) -> Iterator[Any]:
        """Arrays of the strings in `data`, which lies at `offset` in the block. Rows that are none go to `odd`."""
        array = self._parsed(data, lines)
        if array is not None:
            yield array
            return
        middle = data.find(b"\n", len(data) // 2) + 1
        if middle in (0, len(data)):
            middle = data.rfind(b"\n", 0, len(data) - 1) + 1
        if middle:
            above = lines_in(data[:middle])
            yield from self._strings(data[:middle], offset, block, odd, above)
            yield from self._strings(data[middle:], offset + middle, block, odd, lines - above)
            return
        text = self._by_itself(data, offset, block)
        if isinstance(text, str):
            odd[text] += 1
        else:
            yield text

    def _parsed(self, data: bytes, lines: int) -> Any:
        """The column, if each line is an object in which it is a string, null or missing; else None."""
        if not data:
            return strings_of([])
        read = pj.ReadOptions(use_threads=False, block_size=len(data) + 1)
        try:
            column = pj.read_json(pa.BufferReader(data), read_options=read, parse_options=self._options)[self._column]
        except pa.ArrowInvalid:
            return None
        # Arrow takes an object for a row wherever its lines end.
        if len(column) != lines and len(column) != sum(bool(line.strip(_WHITE_SPACE)) for line in data.split(b"\n")):
            return None
        return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)

    def _by_itself(self, line: bytes, offset: int, block: Block) -> Any:
        """The text of a line that Arrow refuses, as an array; or the reason why there is none."""
        try:
            # Nobody wants the numbers, and they may be longer than Python takes.
            row = json.loads(line.decode("utf-8", "surrogateescape"), parse_int=len, parse_float=len)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{self._place(offset, block)}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise SourceError(f"{self._place(offset, block)}: no object, but a {type(row).__name__}")
        value = row.get(self._column)
        if value is None:
            return "null"
        if not isinstance(value, str):
            return "not_text"
        try:
            return strings_of([value.encode()])
        except UnicodeEncodeError:
            return "invalid_utf8"

    def _place(self, offset: int, block: Block) -> str:
        line = block.first_line + block.data.count(b"\n", 0, offset)
        # A byte-order mark is of the file, and not of the data.
        return f"{self._where}: line {line} (byte {block.end - len(block.data) + offset})"
