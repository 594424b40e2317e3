"""Several small files that are one unit: read one after another, and over a network many at once."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import accumulate, pairwise
from pathlib import Path

from shard.errors import SourceError, SourceReadError
from shard.records.unit import Member, Unit
from shard.source.bytestream import ByteStream
from shard.source.lines import LONGEST_BYTES
from shard.source.readers import Reading, documents_reading, plain, whole_document
from shard.source.spanfile import SpanFile
from shard.source.spanqueue import Fetch
from shard.source.spans import Span
from shard.source.way import Way

Open = Callable[[Member, ExitStack], Path | Fetch]


class Joined:
    """Files as if they were one, in which each begins where the one before ends. Thread-safe."""

    def __init__(self, members: Sequence[Member], open_member: Open) -> None:
        self._members = members
        self._open_member = open_member
        self._starts = [0, *accumulate(member.size for member in members)]
        self._under_way: set[ExitStack] = set()
        self._closed = False

    @property
    def spans(self) -> tuple[Span, ...]:
        """One for each file: no request reaches over two."""
        return tuple(Span(start, end) for start, end in pairwise(self._starts) if end > start)

    def fetch(self, start: int, end: int) -> bytes:
        """Bytes `start` (inclusive) to `end` (exclusive). Raises SourceError."""
        pieces: list[bytes] = []
        while start < end:
            index = bisect_right(self._starts, start) - 1
            stop = min(end, self._starts[index + 1])
            pieces.append(self._piece(self._members[index], start - self._starts[index], stop - self._starts[index]))
            start = stop
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, member: Member, start: int, end: int) -> bytes:
        with ExitStack() as stack:
            self._under_way.add(stack)
            try:
                fetch = self._open_member(member, stack)
                if self._closed or isinstance(fetch, Path):
                    raise SourceReadError(f"{member.path}: closed while it was read")
                return fetch(start, end)
            finally:
                self._under_way.discard(stack)

    def close(self) -> None:
        """End what is still under way."""
        self._closed = True
        for stack in list(self._under_way):
            stack.close()


def open_group(way: Way, unit: Unit, members: Sequence[Member], stack: ExitStack) -> tuple[Reading, SpanFile | None]:
    """The unit's documents, and what they are streamed through. Raises SourceError."""
    for member in members:
        if member.size > LONGEST_BYTES:
            raise SourceError(
                f"{way.where(member.path)}: a document of {member.size} bytes; --document-per-line makes many"
            )

    def place(member: Member, stack: ExitStack) -> Path | Fetch:
        alone = Unit(ordinal=unit.ordinal, path=member.path, size=member.size, content_id=member.content_id)
        # Thousands of signed locations, each of use once, would only be in the way.
        return way.place(alone, stack, remember=False)

    if way.is_streamed(unit):
        joined = Joined(members, place)
        stack.callback(joined.close)
        file = SpanFile(joined.fetch, unit.size, way.line.queue)
        stack.callback(file.close)
        documents = (plain(file.read(member.size), way.where(member.path)) for member in members)
        return documents_reading(documents, way.dataset, joined.spans), file

    def read() -> Iterator[bytes]:
        for member in members:
            with ExitStack() as closing:
                path = place(member, closing)
                if not isinstance(path, Path):
                    raise TypeError(f"{member.path} is not on this machine")
                where = way.where(member.path)
                yield whole_document(ByteStream(path, closing, where=where).read, where)

    return documents_reading(read(), way.dataset, ()), None
