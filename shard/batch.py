"""What flows through the pipeline: documents as one block of bytes plus offsets, never as Python objects."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Documents of consecutive source rows, in row order, dropped rows left out."""

    data: NDArray[np.uint8]
    """[bytes] UTF-8 of all documents back to back."""
    offsets: NDArray[np.int64]
    """[documents + 1] where each document starts in `data`; the first is 0, the last is len(data)."""
    rows: int
    """Source rows this batch stands for: documents plus dropped."""
    dropped: dict[str, int]
    """Rows that are no document, by reason."""
    sequences: NDArray[np.int64] | None = None
    """[sequences + 1] where each sequence starts in `data`, for documents of several that are tokenized each by
    itself; none is empty, so every offset of a document is among them. None: each document is one."""

    @property
    def documents(self) -> int:
        return len(self.offsets) - 1

    @property
    def pieces(self) -> NDArray[np.int64]:
        """[pieces + 1] where what is tokenized by itself starts in `data`: sequences, else documents."""
        return self.offsets if self.sequences is None else self.sequences

    def document(self, index: int) -> memoryview:
        """UTF-8 bytes of one document, its sequences in a row, not copied."""
        return self.data.data[self.offsets[index] : self.offsets[index + 1]]

    def pieces_of(self, index: int) -> Iterator[memoryview]:
        """UTF-8 bytes of each sequence of one document, not copied."""
        if self.sequences is None:
            yield self.document(index)
            return
        first, last = np.searchsorted(self.sequences, self.offsets[index : index + 2])
        for start, end in pairwise(self.sequences[first : last + 1].tolist()):
            yield self.data.data[start:end]

    def tokens_of_pieces(self, tokens: NDArray[np.uint32], offsets: NDArray[np.int64]) -> "TokenBatch":
        """Tokens of the documents; those of the pieces start at `offsets` [pieces + 1]."""
        if self.sequences is not None:
            offsets = offsets[np.searchsorted(self.sequences, self.offsets)]
        return TokenBatch(tokens, offsets)


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Tokens of the documents of one TextBatch, without end-of-document tokens."""

    tokens: NDArray[np.uint32]
    """[tokens] ids of all documents back to back."""
    offsets: NDArray[np.int64]
    """[documents + 1] where each document starts in `tokens`; the first is 0."""

    @property
    def documents(self) -> int:
        return len(self.offsets) - 1

    def document(self, index: int) -> NDArray[np.uint32]:
        """Ids of one document, not copied."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]
