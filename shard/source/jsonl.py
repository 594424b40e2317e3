"""JSON lines → batches of text.

Arrow parses a block of lines at once, and no Python object is made per document. Where it refuses a block, the block is
halved until few lines are left, and only these are read by the standard library.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.json as pj

from shard.batch import TextBatch
from shard.errors import SourceError
from shard.source.lines import BLOCK_BYTES, Block, lines_in
from shard.source.strings import joined, strings_of, text_batch

_WHITE_SPACE = b" \t\r"
_KINDS = (pa.large_string(), pa.list_(pa.large_string()))
"""What the column may hold; the same in all lines that Arrow parses together."""
_BEGINS_WITH_OBJECT = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*\{")
_FEW_LINES = 64
"""For one line Arrow takes about as long as the standard library for so many."""


def parsed_line(line: bytes) -> Any:
    """What a line says, but for numbers, which nobody wants, and which may be longer than Python takes.

    Raises ValueError or RecursionError when it is no JSON.
    """
    return json.loads(line.decode("utf-8", "surrogateescape"), parse_int=len, parse_float=len)


def _why(error: Exception) -> str:
    """Without the parser's own line, which is always the first of the one that it was given."""
    return f"{error.msg} at its character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)


class JsonLines:
    """Reads one column of the lines of one file, or of a part of it."""

    def __init__(self, column: str, *, where: str) -> None:
        """`where` is file and part, for errors."""
        self._column = column
        self._where = where
        self._options = [
            pj.ParseOptions(explicit_schema=pa.schema([(column, kind)]), unexpected_field_behavior="ignore")
            for kind in _KINDS
        ]

    def texts(self, blocks: Iterable[Block]) -> Iterator[TextBatch]:
        """One batch a block. A line without the column, or with something else than a string or a list of strings
        there, is dropped and counted; a blank line is no row.

        Raises SourceError, with its number, for a line that is no JSON object.
        """
        for block in blocks:
            odd: Counter[str] = Counter()
            batch = text_batch(joined(list(self._arrays(block.data, 0, block, odd, block.lines))))
            dropped = {reason: batch.dropped.get(reason, 0) + odd[reason] for reason in (*batch.dropped, *odd)}
            yield replace(batch, rows=batch.rows + odd.total(), dropped=dropped)

    def _arrays(self, data: bytes, offset: int, block: Block, odd: Counter[str], lines: int) -> Iterator[Any]:
        """Arrays of the texts in `data`, which lies at `offset` in the block. Rows that have none go to `odd`."""
        array = self._parsed(data, lines)
        if array is not None:
            yield array
        elif lines > _FEW_LINES or (lines > 1 and len(data) > BLOCK_BYTES):
            middle = data.find(b"\n", len(data) // 2) + 1
            if middle in (0, len(data)):
                middle = data.rfind(b"\n", 0, len(data) - 1) + 1
            above = lines_in(data[:middle])
            yield from self._arrays(data[:middle], offset, block, odd, above)
            yield from self._arrays(data[middle:], offset + middle, block, odd, lines - above)
        else:
            for line in data.split(b"\n"):
                if line.strip(_WHITE_SPACE):
                    text = self._by_itself(line, offset, block)
                    if isinstance(text, str):
                        odd[text] += 1
                    else:
                        yield text
                offset += len(line) + 1

    def _parsed(self, data: bytes, lines: int) -> Any:
        """The column, if each line is an object in which it is a string, null or missing, or a list in place of the
        string in each; else None."""
        if _BEGINS_WITH_OBJECT.match(data) is None:
            # Where the first row is `null`, Arrow ends the process.
            return None if data.strip() else strings_of([])
        read = pj.ReadOptions(use_threads=False, block_size=len(data) + 1)
        for options in self._options:
            try:
                column = pj.read_json(pa.BufferReader(data), read_options=read, parse_options=options)[self._column]
                break
            except pa.ArrowInvalid:
                continue
        else:
            return None
        # Arrow takes an object for a row wherever its lines end.
        if len(column) != lines and len(column) != sum(bool(line.strip(_WHITE_SPACE)) for line in data.split(b"\n")):
            return None
        return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)

    def _by_itself(self, line: bytes, offset: int, block: Block) -> Any:
        """The text of a line as an array; or the reason why there is none."""
        try:
            row = parsed_line(line)
        except (ValueError, RecursionError) as error:
            # What a line is must not depend on those around it: of a deep one Arrow may take more.
            array = self._parsed(line, 1)
            if array is not None:
                return array
            raise SourceError(f"{self._place(offset, block)}: not JSON: {_why(error)}") from error
        if row is None:
            return "null"  # Arrow takes such a line for a row, too
        if not isinstance(row, dict):
            raise SourceError(f"{self._place(offset, block)}: no object, but a {type(row).__name__}")
        value = row.get(self._column)
        if value is None:
            return "null"
        sequences = value if isinstance(value, list) else [value]
        if not all(sequence is None or isinstance(sequence, str) for sequence in sequences):
            return "not_text"
        try:
            return pa.array([value], _KINDS[isinstance(value, list)])
        except UnicodeEncodeError:
            return "invalid_utf8"

    def _place(self, offset: int, block: Block) -> str:
        line = block.first_line + block.data.count(b"\n", 0, offset)
        # A byte-order mark is of the file, and not of the data.
        return f"{self._where}: line {line} (byte {block.end - len(block.data) + offset})"
