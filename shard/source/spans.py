"""Which bytes of a Parquet file are worth fetching, cut into spans (pure)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

GAP_BYTES = 64 << 10
"""Chunks nearer than this are read together: fetching the gap is cheaper than another request."""
SMALL_BYTES = 1 << 20
"""Before a chunk shorter than this; before a longer one, only a gap of a hundredth of it."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` (inclusive) to `end` (exclusive) of a file."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


def coalesce(chunks: Iterable[Span], *, gap: int = GAP_BYTES) -> Iterator[Span]:
    """Join chunks, given in file order, where what lies between costs less than another request."""
    current: Span | None = None
    for chunk in chunks:
        allowed = gap if len(chunk) < SMALL_BYTES else min(gap, len(chunk) // 100)
        if current is not None and chunk.start - current.end <= allowed:
            current = Span(current.start, max(current.end, chunk.end))
            continue
        if current is not None:
            yield current
        current = chunk
    if current is not None:
        yield current


def cut(spans: Iterable[Span], *, size: int) -> Iterator[Span]:
    """Cut spans into equal pieces of at most `size` bytes."""
    for span in spans:
        pieces = max(1, -(-len(span) // size))
        for piece in range(pieces):
            yield Span(span.start + len(span) * piece // pieces, span.start + len(span) * (piece + 1) // pieces)
