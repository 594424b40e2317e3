"""Plain text → batches of text: every line a document, or every file."""

from collections.abc import Iterable, Iterator
from io import BytesIO

import numpy as np
import pyarrow as pa

from shard.batch import TextBatch
from shard.source.lines import Block
from shard.source.strings import BATCH_BYTES, BATCH_ROWS_MOST, strings_of, text_batch

_NEWLINE, _RETURN = 10, 13
_WHITE_SPACE = np.zeros(256, dtype=np.bool_)
_WHITE_SPACE[list(b" \t\n\r\v\f")] = True


def line_texts(blocks: Iterable[Block], *, drop_blank: bool) -> Iterator[TextBatch]:
    """Lines without what ends them, LF or CRLF. One batch a block.

    An empty line is no document: dropped and counted, as are with `drop_blank` lines of white space.
    """
    for block in blocks:
        if block.data:
            yield _lines(block.data, drop_blank=drop_blank)


def _lines(data: bytes, *, drop_blank: bool) -> TextBatch:
    # [bytes] uint8
    raw = np.frombuffer(data, dtype=np.uint8)
    # [newlines] int64; [lines] where each begins, and where what ends it does
    newlines = np.flatnonzero(raw == _NEWLINE)
    ends = newlines if raw[-1] == _NEWLINE else np.append(newlines, len(raw))
    starts = np.concatenate((np.zeros(1, dtype=np.int64), ends[:-1] + 1))
    # [bytes] bool: what stays
    kept = raw != _NEWLINE
    returns = newlines[newlines > 0] - 1
    kept[returns[raw[returns] == _RETURN]] = False
    if drop_blank:
        blank = np.logical_and.reduceat(_WHITE_SPACE[raw], starts)
        kept &= ~np.repeat(blank, np.diff(np.append(starts, len(raw))))
    # [lines + 1] int64
    offsets = np.zeros(len(starts) + 1, dtype=np.int64)
    np.cumsum(np.add.reduceat(kept, starts, dtype=np.int64), out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(raw[kept])]
    return text_batch(pa.Array.from_buffers(pa.large_string(), len(starts), buffers, 0))


def whole_texts(documents: Iterable[bytes | None], *, drop_blank: bool) -> Iterator[TextBatch]:
    """Files as they are, without a byte-order mark; with `drop_blank`, without their lines of white space.

    None is a row that is no text: dropped and counted.
    """
    held: list[bytes] = []
    size = others = 0
    for document in documents:
        if document is None:
            others += 1
        else:
            held.append(without_blank_lines(document) if drop_blank else document)
            size += len(held[-1])
        if size >= BATCH_BYTES or len(held) + others >= BATCH_ROWS_MOST:
            yield _batch(held, others)
            held, size, others = [], 0, 0
    if held or others:
        yield _batch(held, others)


def _batch(documents: list[bytes], others: int) -> TextBatch:
    batch = text_batch(strings_of(documents))
    dropped = {**batch.dropped, **({"not_text": others} if others else {})}
    return TextBatch(batch.data, batch.offsets, batch.rows + others, dropped)


def without_blank_lines(document: bytes) -> bytes:
    """A document without the lines that hold nothing but white space."""
    # Not splitlines, to which a CR alone ends a line: the end of the line that it stands in would go.
    return b"".join(line for line in BytesIO(document) if line.strip())
