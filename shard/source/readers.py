"""How each kind of file is read: one reader each, chosen by a plain dict."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from shard.batch import TextBatch
from shard.errors import SourceError
from shard.records.inputs import Format, Kind, LineRange
from shard.records.job import Dataset
from shard.records.unit import Unit
from shard.source.arrow import ArrowFile
from shard.source.bytestream import ByteStream
from shard.source.jsonl import JsonLines
from shard.source.lines import BLOCK_BYTES, LONGEST_BYTES, MARK, Block, blocks, part_of, require_no_archive
from shard.source.parquet import open_parquet, read_texts, require_text_column, row_groups_of
from shard.source.spanfile import SpanFile
from shard.source.spans import Span, coalesce
from shard.source.tar import members
from shard.source.text import line_texts, whole_texts


@dataclass(frozen=True, slots=True)
class Taken:
    """The rows that a unit took, as its record says them."""

    row_start: int
    row_end: int
    file_rows: int
    lines: LineRange | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A unit that is about to be read."""

    texts: Iterator[TextBatch]
    taken: Callable[[], Taken]
    """Known when `texts` has come to its end."""
    spans: tuple[Span, ...]
    """Bytes of the file that `texts` will read, in this order."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a reader is given."""

    source: Path | SpanFile
    unit: Unit
    dataset: Dataset
    kind: Kind
    where: str
    stack: ExitStack
    """Closes what is opened."""
    block_bytes: int = BLOCK_BYTES
    """Read at once, of a file without blocks of its own."""

    def stream(self) -> ByteStream:
        return ByteStream(self.source, self.stack, where=self.where, compression=self.kind.compression)

    @property
    def whole(self) -> tuple[Span, ...]:
        return (Span(0, self.unit.size),)


class Tally:
    """Counts what goes by."""

    def __init__(self) -> None:
        self.rows = 0
        self.start: int | None = None
        self.end = 0

    def texts(self, texts: Iterable[TextBatch]) -> Iterator[TextBatch]:
        for batch in texts:
            self.rows += batch.rows
            yield batch

    def blocks(self, found: Iterable[Block]) -> Iterator[Block]:
        for block in found:
            self.start = block.start if self.start is None else self.start
            self.end = block.end
            yield block

    def taken(self) -> Taken:
        """Of a whole file."""
        return Taken(0, self.rows, self.rows)

    def taken_of(self, unit: Unit) -> Taken:
        """Of a file that may be cut by lines."""
        if unit.parts == 1:
            return self.taken()
        start, end = (unit.byte_start, unit.byte_start) if self.start is None else (self.start, self.end)
        return Taken(0, self.rows, self.rows, LineRange(start=start, end=end, file_bytes=unit.size))


def _parquet(opening: Opening) -> Reading:
    column, where = opening.dataset.text_column, opening.where
    file = open_parquet(opening.source, where=where)
    opening.stack.callback(file.close)
    require_text_column(file, column, where=where)
    groups = row_groups_of(opening.unit, file, column, where=where)
    taken = Taken(groups.row_start, groups.row_end, groups.file_rows)
    return Reading(read_texts(file, groups, column, where=where), lambda: taken, tuple(coalesce(groups.spans)))


def _arrow(opening: Opening) -> Reading:
    tally = Tally()
    file = ArrowFile(opening.source, opening.dataset.text_column, opening.stack, where=opening.where)
    return Reading(tally.texts(file.texts()), tally.taken, opening.whole)


def _lines(opening: Opening) -> Reading:
    unit, tally = opening.unit, Tally()
    part = part_of(unit)
    where = opening.where if part is None else f"{opening.where}, part {unit.part + 1} of {unit.parts}"
    found = tally.blocks(blocks(opening.stream(), part, where=where, block_bytes=opening.block_bytes))
    if opening.kind.format == "jsonl":
        texts = JsonLines(opening.dataset.text_column, where=where).texts(found)
    else:
        texts = line_texts(found, drop_blank=opening.dataset.input.drop_empty_lines)
    # With the byte before: whether it ends a line says whether one begins with the part.
    spans = opening.whole if part is None else (Span(max(0, part.start - 1), part.end),)
    return Reading(tally.texts(texts), lambda: tally.taken_of(unit), spans)


def _text(opening: Opening) -> Reading:
    if opening.dataset.input.document_per_line:
        return _lines(opening)
    stream = opening.stream()
    return _documents(opening, (whole_document(stream.read, where) for where in (opening.where,)))


def _tar(opening: Opening) -> Reading:
    form, where, tally = opening.dataset.input, opening.where, Tally()
    found = members(opening.stream(), any_name=form.format == "tar", where=where)
    if not form.document_per_line:
        documents = (
            None if member is None else whole_document(member.read, f"{where}: {member.name}") for member in found
        )
        return _documents(opening, documents)

    def texts() -> Iterator[TextBatch]:
        for member in found:
            if member is None:
                yield from whole_texts([None], drop_blank=False)
                continue
            named = f"{where}: {member.name}"
            lines = blocks(member, where=named, block_bytes=opening.block_bytes)
            yield from line_texts(lines, drop_blank=form.drop_empty_lines)

    return Reading(tally.texts(texts()), tally.taken, opening.whole)


def _documents(opening: Opening, documents: Iterable[bytes | None]) -> Reading:
    return documents_reading(documents, opening.dataset, opening.whole)


def documents_reading(documents: Iterable[bytes | None], dataset: Dataset, spans: tuple[Span, ...]) -> Reading:
    """Of files, or members of an archive, that are a document each."""
    tally = Tally()
    texts = whole_texts(documents, drop_blank=dataset.input.drop_empty_lines)
    return Reading(tally.texts(texts), tally.taken, spans)


def whole_document(read: Callable[[int], bytes], where: str) -> bytes:
    """A file that is one document. Raises SourceError when it is over a gigabyte."""
    pieces: list[bytes] = []
    size = 0
    while piece := read(BLOCK_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > LONGEST_BYTES:
            raise SourceError(f"{where}: a document of over {LONGEST_BYTES} bytes; --document-per-line makes many")
    return plain(b"".join(pieces), where)


def plain(document: bytes, where: str) -> bytes:
    """A file that is one document without its byte-order mark. Raises SourceKindError when it is an archive."""
    require_no_archive(document, where=where)
    return document.removeprefix(MARK)


READERS: dict[Format, Callable[[Opening], Reading]] = {
    "parquet": _parquet,
    "arrow": _arrow,
    "jsonl": _lines,
    "text": _text,
    "tar": _tar,
}
