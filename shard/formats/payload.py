"""Tokens of a batch → the bytes of a payload: little-endian ids, every document framed by its end-of-document id and,
where one is wanted, a beginning-of-document id (pure)."""

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
    """[tokens] uint16 or uint32, beginning- and end-of-document ids in place."""
    offsets: NDArray[np.int64]
    """[documents + 1] where each document starts in `tokens`."""

    def lengths(self, mask: NDArray[np.bool_]) -> NDArray[np.int32]:
        """[documents under the mask] int32: tokens of each document, with those that frame it."""
        return np.diff(self.offsets)[mask].astype(np.int32)

    def runs(self, mask: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
        """The tokens of the documents under the mask: one view for each run of neighbours, nothing copied."""
        # [documents + 2] int8: +1 where a run begins, -1 just past its end
        edges = np.diff(mask.astype(np.int8), prepend=0, append=0)
        for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            yield self.tokens[self.offsets[start] : self.offsets[end]]


def payload_of(batch: TokenBatch, dtype: str, eod_id: int | None, bos_id: int | None = None) -> Payload:
    """Narrow the ids to `dtype`, set `bos_id` before and `eod_id` after every document; None sets nothing."""
    frame = (bos_id is not None) + (eod_id is not None)
    if not frame:
        return Payload(batch.tokens.astype(DTYPES[dtype]), batch.offsets)
    documents = batch.documents
    # [documents + 1] int64: every earlier document has grown by its frame
    offsets = batch.offsets + np.arange(documents + 1, dtype=np.int64) * frame
    # [tokens + documents · frame]
    tokens = np.empty(len(batch.tokens) + documents * frame, dtype=DTYPES[dtype])
    is_text = np.ones(len(tokens), dtype=np.bool_)
    for places, token in ((offsets[:-1], bos_id), (offsets[1:] - 1, eod_id)):
        if token is not None:
            is_text[places] = False
            tokens[places] = token
    tokens[is_text] = batch.tokens
    return Payload(tokens, offsets)
