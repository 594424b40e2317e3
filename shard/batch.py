"""What flows through the pipeline: documents as one block of bytes plus offsets, never as Python objects."""

from dataclasses import dataclass

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

    @property
    def documents(self) -> int:
        return len(self.offsets) - 1

    def document(self, index: int) -> memoryview:
        """UTF-8 bytes of one document, not copied."""
        return self.data.data[self.offsets[index] : self.offsets[index + 1]]


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
