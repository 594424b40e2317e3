"""Whole lines of a file, or of a part of it: a line belongs to the part that holds its first byte."""

import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from shard.errors import SourceError, SourceKindError
from shard.records.unit import Unit

BLOCK_BYTES = 4 << 20
LONGEST_BYTES = 1 << 30
"""Of a line, or of a document that is a file: both are in memory as a whole."""
_PAST_END_BYTES = 64 << 10
_NEWLINE = 10
MARK = b"\xef\xbb\xbf"
"""With which some editors begin a file; no part of the text."""
_WIDE = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
"""Marks of encodings that are not read."""
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257


class Readable(Protocol):
    """A file that is read forwards. Only one that is cut into parts is asked to begin elsewhere."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, position: int, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file whose lines are wanted: those that begin from `start` (inclusive) to `end` (exclusive)."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines; the last of a file may have no newline."""

    data: bytes
    """Without the file's byte-order mark."""
    start: int
    """Where it begins in the file, decompressed."""
    end: int
    """Where it ends (exclusive)."""
    first_line: int
    """Number of its first line, from 1, within the unit."""
    lines: int
    """Blank ones, and a last one without newline, included."""


def part_of(unit: Unit) -> Part | None:
    """Of a unit that is cut by lines; None for a whole file."""
    return Part(unit.byte_start, unit.byte_end) if unit.parts > 1 else None


def without_mark(data: bytes, *, where: str) -> bytes:
    """The beginning of a file without its byte-order mark. Raises SourceKindError for UTF-16 and an archive."""
    wide = next((name for mark, name in _WIDE.items() if data.startswith(mark)), None)
    if wide is not None:
        raise SourceKindError(f"{where}: {wide}; convert it: iconv -f {wide} -t UTF-8")
    require_no_archive(data, where=where)
    return data.removeprefix(MARK)


def require_no_archive(data: bytes, *, where: str) -> None:
    """Raise SourceKindError for the beginning of a tar archive: its headers are UTF-8, and would pass for text."""
    if data[_TAR_MAGIC_AT : _TAR_MAGIC_AT + len(_TAR_MAGIC)] != _TAR_MAGIC:
        return
    with suppress(tarfile.HeaderError):  # text that has the word there is not a header with its checksum
        tarfile.TarInfo.frombuf(data[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        raise SourceKindError(f"{where}: a tar archive; give it with --include, and --input-format tar")


def blocks(file: Readable, part: Part | None = None, *, where: str, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Blocks of about `block_bytes`; of one line where that is longer. Raises SourceError for one over a gigabyte."""
    first_line = 1
    for start, data in _whole_lines(file, part, where, block_bytes):
        text = without_mark(data, where=where) if start == 0 else data
        lines = lines_in(data)
        yield Block(text, start, start + len(data), first_line, lines)
        first_line += lines


def lines_in(data: bytes) -> int:
    """How many lines there are, blank ones and a last one without newline included."""
    # Not bytes.count(), which is slower than all the rest of reading.
    newlines = int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == _NEWLINE))
    return newlines + (data[-1:] not in (b"", b"\n"))


def _whole_lines(file: Readable, part: Part | None, where: str, block_bytes: int) -> Iterator[tuple[int, bytes]]:
    """(where it begins, bytes) of what `blocks` gives."""
    start, pending = 0, list[bytes]()  # of a line whose newline has not come yet
    for at, piece in _pieces(file, part, block_bytes):
        if not pending:
            start = at
        final = part is not None and at + len(piece) >= part.end
        # The part's last line is the one that holds its last byte.
        cut = 1 + (piece.find(b"\n", max(0, part.end - 1 - at)) if part is not None and final else piece.rfind(b"\n"))
        if cut:
            yield start, b"".join((*pending, piece[:cut]))
            if final:
                return
            start, pending = at + cut, []
        if cut < len(piece):
            pending.append(piece[cut:])
        if at + len(piece) - start > LONGEST_BYTES:
            raise SourceError(f"{where}: the line that begins at byte {start} is longer than {LONGEST_BYTES} bytes")
    if pending:
        yield start, b"".join(pending)


def _pieces(file: Readable, part: Part | None, block_bytes: int) -> Iterator[tuple[int, bytes]]:
    """(position, bytes) from the first line that begins in the part, to the end of the file if it is wanted so far."""
    position = 0 if part is None else max(0, part.start - 1)  # if the byte before is a newline, a line begins
    if position:
        file.seek(position)
    searching, past = part is not None and part.start > 0, _PAST_END_BYTES
    while part is None or part.start < part.end:
        wanted = block_bytes
        if part is not None and position < part.end:
            wanted = min(wanted, part.end - position)
        elif part is not None:
            wanted, past = past, min(2 * past, block_bytes)
        piece = file.read(wanted)
        if not piece:
            return
        at, position = position, position + len(piece)
        if part is not None and searching:
            cut = piece.find(b"\n") + 1
            if (at + cut if cut else position) >= part.end:
                return  # it is a later part in which the next line begins
            if not cut:
                continue
            searching, at, piece = False, at + cut, piece[cut:]
            if not piece:
                continue
        yield at, piece
