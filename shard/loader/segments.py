"""Where documents lie in the rows of a batch, and what follows from it (pure)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IGNORED = -100
"""The label that cross-entropy leaves out, in torch and elsewhere."""


@dataclass(frozen=True, eq=False)
class Segments:
    """The pieces of documents that a batch is made of, in the order of its slots.

    A slot is one of the `rows * context_length` positions of input_ids, counted row by row. Segments cover all of
    them: padding belongs to the segment that it follows.
    """

    rows: int
    context_length: int
    starts: NDArray[np.int64]
    """[segments] the first slot of each, ascending; a row always begins with one."""
    filled: NDArray[np.int64] | None
    """[segments] slots with tokens; the rest of the segment is padding. None where nothing is padded."""
    ends_document: NDArray[np.bool_]
    """[segments] whether the document's last token is the segment's."""
    is_continuation: NDArray[np.bool_]
    """[rows] whether the row begins within a document."""

    @property
    def slots(self) -> int:
        return self.rows * self.context_length

    def lengths(self) -> NDArray[np.int64]:
        """[segments] slots, padding included."""
        return np.diff(self.starts, append=self.slots)

    def select(self, first: int, last: int) -> "Segments":
        """Those of rows `first` (inclusive) to `last` (exclusive)."""
        low, high = np.searchsorted(self.starts, (first * self.context_length, last * self.context_length))
        return Segments(
            rows=last - first,
            context_length=self.context_length,
            starts=self.starts[low:high] - first * self.context_length,
            filled=None if self.filled is None else self.filled[low:high],
            ends_document=self.ends_document[low:high],
            is_continuation=self.is_continuation[first:last],
        )

    def cu_seqlens(self, size: int | None = None) -> NDArray[np.int32]:
        """[segments + 1] int32: the starts, and the number of slots; repeated up to `size` entries where given.

        Raises ValueError when there are more.
        """
        count = len(self.starts) + 1
        if size is not None and size < count:
            raise ValueError(
                f"cu_seqlens_size {size}: this batch has {count - 1} documents, which take {count} entries"
            )
        found = np.full(size or count, self.slots, dtype=np.int32)
        found[: count - 1] = self.starts
        return found

    def position_ids(self) -> NDArray[np.int32]:
        """[rows, context length] int32: from 0 in every segment."""
        # [slots]: 1 everywhere, and at every start what brings the running sum back to 0
        steps = np.ones(self.slots, dtype=np.int32)
        steps[0] = 0
        steps[self.starts[1:]] = 1 - np.diff(self.starts)
        return np.cumsum(steps, dtype=np.int32, out=steps).reshape(self.rows, self.context_length)

    def document_ids(self) -> NDArray[np.int32]:
        """[rows, context length] int32: the number of the segment within its row, from 0; -1 for padding."""
        # [slots]: 1 at every start; whole numbers over the batch, less that of the row's first
        steps = np.zeros(self.slots, dtype=np.int32)
        steps[self.starts] = 1
        ids = np.cumsum(steps, dtype=np.int32, out=steps).reshape(self.rows, self.context_length)
        ids -= ids[:, :1].copy()
        if self.filled is not None:
            ids[self.padding()] = -1
        return ids

    def padding(self) -> NDArray[np.bool_]:
        """[rows, context length] bool: slots without a token."""
        found = np.zeros((self.rows, self.context_length), dtype=np.bool_)
        if self.filled is not None:
            edges = np.zeros(self.slots + 1, dtype=np.int8)
            lengths = self.lengths()
            padded = self.filled < lengths
            # +1 where padding begins, -1 where the next segment does
            edges[(self.starts + self.filled)[padded]] += 1
            edges[(self.starts + lengths)[padded]] -= 1
            np.cumsum(edges[:-1], out=edges[:-1])
            found.reshape(-1)[:] = edges[:-1] > 0
        return found

    def unlabelled(self, across_documents: bool) -> NDArray[np.int64]:
        """[n] int64: slots whose label is to be ignored, ascending.

        Where labels must not go `across_documents`, they are the last token of every document. With padding they are
        that in any case, as neighbours have nothing to do with each other, and the padding.
        """
        if across_documents and self.filled is None:
            return np.empty(0, dtype=np.int64)
        used = self.lengths() if self.filled is None else self.filled
        last = (self.starts + used - 1)[self.ends_document]
        if self.filled is None:
            return last
        return np.union1d(last, np.flatnonzero(self.padding()))


def merged(parts: list[tuple[NDArray[np.int64], Segments]], rows: int) -> Segments:
    """Segments of one batch whose rows come from several sources: (rows of the batch, segments of those rows) each."""
    length = parts[0][1].context_length
    starts = [where[part.starts // length] * length + part.starts % length for where, part in parts]
    order = np.argsort(np.concatenate(starts), kind="stable")
    padded = any(part.filled is not None for _, part in parts)
    continuation = np.zeros(rows, dtype=np.bool_)
    for where, part in parts:
        continuation[where] = part.is_continuation

    def gathered(arrays: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(arrays)[order]

    return Segments(
        rows=rows,
        context_length=length,
        starts=gathered(starts),
        filled=gathered([part.lengths() if part.filled is None else part.filled for _, part in parts])
        if padded
        else None,
        ends_document=gathered([part.ends_document for _, part in parts]),
        is_continuation=continuation,
    )
