"""Keys in order → documents that have one in common, and pairs of these; a part at a time, however many there are."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 16
"""In a group of documents with one band key, each is compared with so many before it, and with the group's first: all
pairs of a group of up to 17, and few enough of a group of a million."""

Pairs = NDArray[np.int64]
"""[pairs, 2] numbers of documents, the lower one first."""

Columns = list[NDArray[Any]]
"""Rows of a table: a key of one or more columns, and documents as the last, in order of both."""

Members = tuple[NDArray[np.int64], NDArray[np.int64]]
"""([rows] place within its group, 0 for the first; [rows] documents, ascending within a group): groups one after the
other, each of at least two."""


def shared(parts: Iterable[Columns]) -> Iterator[Members]:
    """Those whose key another row has too. Parts are as one table: a group may go over any number of them."""
    held: Columns = []  # the last row: whether it is alone, the next part says
    place = 0  # of that row
    for part in parts:
        columns = [np.concatenate(both) for both in zip(held, part, strict=True)] if held else part
        rows = len(columns[0])
        if not rows:
            continue
        same = np.ones(rows - 1, dtype=np.bool_)
        for column in columns[:-1]:
            same &= column[1:] == column[:-1]
        # [rows] whether a row has the key of the one before it
        follows = np.concatenate(([place > 0], same))
        row = np.arange(rows)
        places = row - np.maximum.accumulate(np.where(follows, -place, row))
        member = follows[:-1] | same
        yield places[:-1][member], columns[-1][:-1][member]
        held, place = [column[-1:] for column in columns], int(places[-1])
    if place:
        yield np.array([place]), held[-1]


def behind_first(members: Iterable[Members]) -> Iterator[Pairs]:
    """Every document of a group but the first, behind the first."""
    first = 0
    for places, documents in members:
        firsts = _firsts(places, documents, first)
        yield np.stack((firsts, documents), axis=1)[places > 0]
        first = firsts[-1] if len(firsts) else first


def with_neighbours(members: Iterable[Members]) -> Iterator[Pairs]:
    """Every document of a group behind each of the NEIGHBOURS before it, and behind the group's first."""
    first = 0
    before = np.empty(0, dtype=np.int64)  # the last documents of earlier parts
    for places, documents in members:
        firsts = _firsts(places, documents, first)
        far = places > NEIGHBOURS
        pairs = [np.stack((firsts[far], documents[far]), axis=1)]
        joined = np.concatenate((before, documents))
        for distance in range(1, NEIGHBOURS + 1):
            rows = np.flatnonzero(places >= distance) + len(before)
            pairs.append(np.stack((joined[rows - distance], joined[rows]), axis=1))
        yield np.concatenate(pairs)
        first = firsts[-1] if len(firsts) else first
        before = joined[-NEIGHBOURS:]


def distinct(parts: Iterable[NDArray[np.int64]]) -> Iterator[NDArray[np.int64]]:
    """Rows in order, [rows, columns], without those that equal the one before."""
    last: NDArray[np.int64] | None = None
    for part in parts:
        if not len(part):
            continue
        new = np.ones(len(part), dtype=np.bool_)
        new[1:] = np.any(part[1:] != part[:-1], axis=1)
        new[0] = last is None or bool(np.any(part[0] != last))
        last = part[-1]
        yield part[new]


def gathered(parts: Iterable[Pairs], many: int) -> Iterator[Pairs]:
    """The same pairs, at least so many at a time but for the last."""
    some: list[Pairs] = [np.empty((0, 2), dtype=np.int64)]
    for part in parts:
        some.append(part)
        if sum(map(len, some)) >= many:
            yield np.concatenate(some)
            some = some[:1]
    yield np.concatenate(some)


def _firsts(places: NDArray[np.int64], documents: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    """[rows] the first document of the group of each, which is `first` where the group began before these rows."""
    begins = np.arange(len(places)) - places
    return np.where(begins < 0, first, documents[np.maximum(begins, 0)])
