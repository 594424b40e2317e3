"""shard/source/spans.py"""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shard.source.spans import Span, coalesce, cut


@st.composite
def chunks_in_order(draw: st.DrawFn) -> list[Span]:
    chunks, position = [], 0
    for gap, length in draw(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 100)))):
        chunks.append(Span(position + gap, position + gap + length))
        position += gap + length
    return chunks


def bytes_of(spans: list[Span]) -> set[int]:
    return {byte for span in spans for byte in range(span.start, span.end)}


@given(chunks_in_order(), st.integers(0, 60))
def test_coalesce(chunks: list[Span], gap: int) -> None:
    """All bytes of the chunks are covered, in order; what is fetched besides is gaps no wider than allowed; and no
    two results could still be joined."""
    spans = list(coalesce(chunks, gap=gap))
    assert bytes_of(chunks) <= bytes_of(spans)
    assert all(after.start - before.end > gap for before, after in itertools.pairwise(spans))
    gaps = [Span(before.end, after.start) for before, after in itertools.pairwise(chunks)]
    assert bytes_of(spans) - bytes_of(chunks) <= bytes_of([g for g in gaps if len(g) <= gap])


@given(chunks_in_order(), st.integers(1, 40))
def test_cut(chunks: list[Span], size: int) -> None:
    """Pieces are at most `size` long, as many as needed and no more, about equal, and together the same bytes."""
    pieces = list(cut(chunks, size=size))
    assert all(len(piece) <= size for piece in pieces)
    assert bytes_of(chunks) == bytes_of(pieces)
    assert sum(max(1, -(-len(chunk) // size)) for chunk in chunks) == len(pieces)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], []),
        ([Span(4, 9)], [Span(4, 9)]),
        ([Span(0, 10), Span(10, 20)], [Span(0, 20)]),
        ([Span(0, 10), Span(15, 20)], [Span(0, 20)]),
        ([Span(0, 10), Span(16, 20)], [Span(0, 10), Span(16, 20)]),
        ([Span(0, 10), Span(2, 5)], [Span(0, 10)]),
    ],
)
def test_coalesce_cases(chunks: list[Span], expected: list[Span]) -> None:
    """Neighbours within five bytes are one span; overlapping ones never shrink it."""
    assert expected == list(coalesce(chunks, gap=5))
