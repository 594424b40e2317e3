"""What duplicates are sought in, and what is found: documents numbered through all shards."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Take = Callable[[int, bytes], None]
"""Given the number of a part, and the signatures that were wanted of it, back to back."""
Fetch = Callable[[Mapping[int, NDArray[np.int64]], Take], None]
"""Given positions in parts, by their number: has the signatures of these documents taken, of each part once."""


class Part(Protocol):
    """Documents that are numbered one after another: those of one shard."""

    @property
    def documents(self) -> int: ...

    @property
    def source(self) -> str:
        """Name of the dataset they are from, among several."""

    def exact(self) -> NDArray[np.uint64]:
        """[documents, 2] keys of normal forms."""

    def banded(self) -> NDArray[np.uint64]:
        """[documents, bands] keys of bands."""


P = TypeVar("P", bound=Part)


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What is to be removed."""

    documents: int
    """Of all shards."""
    removed: NDArray[np.int64]
    """[duplicates] numbers of documents, ascending."""
    kept: NDArray[np.int64]
    """[duplicates] for each the document that stays, the one with the lowest number of its cluster."""
    exact: int
    """Of the duplicates: those whose normal form is that of an earlier document."""
    compared: int
    """Pairs whose signatures were compared."""

    @property
    def share(self) -> float:
        """Of the documents that would be removed."""
        return len(self.removed) / max(1, self.documents)


def numbered(parts: Sequence[P]) -> Iterator[tuple[int, P]]:
    """(number of its first document, part): documents are numbered through all parts, in their order."""
    first = 0
    for part in parts:
        yield first, part
        first += part.documents


def within(documents: NDArray[np.int64], first: int, count: int) -> NDArray[np.int64]:
    """Positions, from `first` on, of those of the documents, ascending, that are among the next `count`."""
    start, end = np.searchsorted(documents, (first, first + count))
    return documents[start:end] - first
