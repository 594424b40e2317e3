"""Text → normal form and words, for a whole batch at once and without a Python object per word.

Normal form: bytes up to 0x20 are white space; runs of it become one space, and none is left at either end; A to Z
become a to z. All else stays as it is. Words are what stands between white space; a character from U+3000 to U+9FFF
(kana, CJK ideographs and their punctuation), where no spaces stand between words, is a word by itself.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shard.batch import TextBatch

_SPACE = 0x20
_NORMAL = np.arange(256, dtype=np.uint8)
_NORMAL[:_SPACE] = _SPACE
_NORMAL[ord("A") : ord("Z") + 1] += 0x20
_FIRST_LEAD, _LAST_LEAD = 0xE3, 0xE9
"""First bytes of the three of a character from U+3000 to U+9FFF."""


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a batch of documents."""

    data: NDArray[np.uint8]
    """[bytes] normalised byte by byte: as many as in the batch, at the same places."""
    starts: NDArray[np.int64]
    """[words] where each begins in `data`."""
    lengths: NDArray[np.int64]
    """[words] in bytes."""
    first: NDArray[np.int64]
    """[documents + 1] the first word of every document, and the number of words."""
    texts: NDArray[np.uint8]
    """[bytes] normal forms of all documents back to back."""
    offsets: NDArray[np.int64]
    """[documents + 1] where each begins in `texts`. A space at its end is not part of the normal form."""

    def text(self, index: int) -> memoryview:
        """Normal form of one document, not copied."""
        start, end = int(self.offsets[index]), int(self.offsets[index + 1])
        if end > start and self.texts[end - 1] == _SPACE:
            end -= 1
        return self.texts.data[start:end]


def words_of(batch: TextBatch) -> Words:
    """Normalise a batch and find its words."""
    data = np.take(_NORMAL, batch.data)
    # [bytes + 1] bool: one place more, behind the last byte
    space = np.ones(len(data) + 1, dtype=np.bool_)
    np.equal(data, _SPACE, out=space[:-1])
    # [bytes + 1] bool: nothing of the same word or run of spaces can stand before
    after_space = np.ones(len(data) + 1, dtype=np.bool_)
    after_space[1:] = space[:-1]
    after_space[batch.offsets] = True
    begins = after_space.copy()
    lead = (data >= _FIRST_LEAD) & (data <= _LAST_LEAD)
    if lead.any():
        begins[:-1] |= lead
        begins[3:] |= lead[: max(0, len(lead) - 2)]
    begins &= ~space
    # A word ends where no space stands, and a space or another word follows.
    ends = ~space[:-1] & (space[1:] | begins[1:])
    starts = np.flatnonzero(begins)
    kept = ~(space & after_space)[:-1]
    left_out = np.flatnonzero(~kept)
    return Words(
        data=data,
        starts=starts,
        lengths=np.flatnonzero(ends) + 1 - starts,
        first=np.searchsorted(starts, batch.offsets).astype(np.int64),
        texts=data[kept],
        offsets=batch.offsets - np.searchsorted(left_out, batch.offsets),
    )
