"""Tokens of a batch → the bytes of a payload: little-endian ids, the end-of-document id after every document (pure)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.batch import TokenBatch

DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


@dataclass(frozen=True, slots=True)
class Payload:
    """Documents as they lie in a `.bin` file."""

    tokens: NDArray[Any]
    """[tokens] uint16 or uint32, end-of-document ids in place."""
    offsets: NDArray[np.int64]
    """[documents + 1] where each document starts in `tokens`."""

    def lengths(self, mask: NDArray[np.bool_]) -> NDArray[np.int32]:
        """[documents under the mask] int32: tokens of each document, end-of-document id included."""
        return np.diff(self.offsets)[mask].astype(np.int32)

    def runs(self, mask: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
        """The tokens of the documents under the mask: one view for each run of neighbours, nothing copied."""
        # [documents + 2] int8: +1 where a run begins, -1 just past its end
        edges = np.diff(mask.astype(np.int8), prepend=0, append=0)
        for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            yield self.tokens[self.offsets[start] : self.offsets[end]]


def payload_of(batch: TokenBatch, dtype: str, eod_id: int | None) -> Payload:
    """Narrow the ids to `dtype` and set the end-of-document id after every document."""
    if eod_id is None:
        return Payload(batch.tokens.astype(DTYPES[dtype]), batch.offsets)
    documents = batch.documents
    # [documents + 1] int64: every earlier document has grown by one token
    offsets = batch.offsets + np.arange(documents + 1, dtype=np.int64)
    # [tokens + documents]
    tokens = np.empty(len(batch.tokens) + documents, dtype=DTYPES[dtype])
    ends = offsets[1:] - 1
    is_text = np.ones(len(tokens), dtype=np.bool_)
    is_text[ends] = False
    tokens[is_text] = batch.tokens
    tokens[ends] = eod_id
    return Payload(tokens, offsets)
