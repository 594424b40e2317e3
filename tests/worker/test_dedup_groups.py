"""shard/dedup/groups.py and clusters.py: parts, however they are cut, make what the whole makes."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shard.dedup.clusters import Clusters
from shard.dedup.groups import NEIGHBOURS, Columns, Pairs, behind_first, distinct, shared, with_neighbours

keys = st.lists(st.integers(0, 3) | st.integers(0, 50), max_size=120)
cuts = st.lists(st.integers(0, 120), max_size=12)
numbers = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted).filter(lambda pair: pair[0] < pair[1])


def parts_of(columns: Columns, places: list[int]) -> list[Columns]:
    """The rows in parts, some of them empty."""
    rows = len(columns[0])
    edges = sorted([0, rows, *(min(place, rows) for place in places)])
    return [[column[start:end] for column in columns] for start, end in pairwise(edges)]


def ordered(values: list[int]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Keys and documents, by key, then document."""
    given_keys = np.array(values, dtype=np.uint64)
    documents = np.argsort(given_keys, kind="stable")
    return given_keys[documents], documents


def all_of(parts: list[Pairs]) -> list[tuple[int, int]]:
    return sorted(tuple(pair) for part in parts for pair in part.tolist())


def pairs_of(values: list[int]) -> list[tuple[int, int]]:
    """All that are to be compared, by going through every group."""
    expected = []
    for key in set(values):
        group = [document for document, own in enumerate(values) if own == key]
        places = combinations(range(len(group)), 2)
        expected += [(group[a], group[b]) for a, b in places if a == 0 or b - a <= NEIGHBOURS]
    return sorted(expected)


@given(values=keys, places=cuts)
def test_pairs_of_groups(values: list[int], places: list[int]) -> None:
    """Everyone meets the NEIGHBOURS before it in its group and the group's first, once, wherever parts end."""
    assert all_of(list(with_neighbours(shared(parts_of([*ordered(values)], places))))) == pairs_of(values)


@pytest.mark.parametrize("rows", [1, 2, 7, NEIGHBOURS, NEIGHBOURS + 1, NEIGHBOURS + 2, 50, 1000])
def test_large_groups_in_small_parts(rows: int) -> None:
    """So it is with groups about as large as NEIGHBOURS and larger, when parts are smaller than they are."""
    sizes = [1, 60, NEIGHBOURS, NEIGHBOURS + 1, 1, NEIGHBOURS + 2, NEIGHBOURS + 3, 2, 90]
    values = [key for key, size in enumerate(sizes) for _ in range(size)]
    np.random.default_rng(rows).shuffle(values)
    found = with_neighbours(shared(parts_of([*ordered(values)], [*range(0, len(values), rows)])))
    assert all_of(list(found)) == pairs_of(values)


@given(values=keys, places=cuts)
def test_copies_behind_the_first(values: list[int], places: list[int]) -> None:
    """Of a key in two columns every document but the first stands behind the first."""
    key, documents = ordered(values)
    found = all_of(list(behind_first(shared(parts_of([key // np.uint64(7), key % np.uint64(7), documents], places)))))
    assert found == sorted(
        (values.index(own), number) for number, own in enumerate(values) if values.index(own) < number
    )


@given(pairs=st.lists(numbers, max_size=80), places=cuts)
def test_distinct(pairs: list[list[int]], places: list[int]) -> None:
    """Rows that stand more than once in order come once, also where a part ends between them."""
    rows = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    found = list(distinct(part for (part,) in parts_of([rows], places)))
    assert all_of(found) == sorted({tuple(pair) for pair in pairs})


@given(pairs=st.lists(numbers, min_size=1, max_size=80), places=cuts)
def test_clusters(pairs: list[list[int]], places: list[int]) -> None:
    """Of each cluster the lowest number is found, in whatever order and parts the pairs come."""
    rows = np.array(pairs, dtype=np.int64)
    clusters = Clusters(rows.ravel())
    for (part,) in parts_of([rows], places):
        clusters.link(part)
    lowest = {int(number): int(number) for number in clusters.documents}
    for _ in lowest:
        for a, b in pairs:
            lowest[a] = lowest[b] = min(lowest[a], lowest[b])
    assert dict(zip(clusters.documents.tolist(), clusters.smallest().tolist(), strict=True)) == lowest


def test_a_long_chain() -> None:
    """A chain of 200,000, each link behind the last and the last links first, hangs together, in little time."""
    documents = np.arange(200_000)
    chain = np.stack((documents[:-1], documents[1:]), axis=1)[::-1]
    clusters = Clusters(documents)
    for part in np.array_split(chain, 50):
        clusters.link(part)
    assert not clusters.smallest().any()
