"""Documents as the pipeline holds them."""

from collections.abc import Iterable

import numpy as np

from shard.batch import TextBatch, TokenBatch


def text_batch_of(documents: Iterable[str | bytes]) -> TextBatch:
    """A batch of these documents, nothing dropped."""
    encoded = [document.encode() if isinstance(document, str) else document for document in documents]
    data = np.frombuffer(b"".join(encoded), dtype=np.uint8)
    return TextBatch(data=data, offsets=_offsets(map(len, encoded)), rows=len(encoded), dropped={})


def token_batch_of(documents: Iterable[list[int]]) -> TokenBatch:
    """A batch of documents given as ids."""
    listed = list(documents)
    tokens = np.array([i for document in listed for i in document], dtype=np.uint32)
    return TokenBatch(tokens=tokens, offsets=_offsets(map(len, listed)))


def documents_of(batch: TextBatch) -> list[bytes]:
    """The documents of a batch, spelled out."""
    return [bytes(batch.document(index)) for index in range(batch.documents)]


def ids_of(batch: TokenBatch) -> list[list[int]]:
    """The ids of every document of a batch, spelled out."""
    return [batch.document(index).tolist() for index in range(batch.documents)]


def _offsets(lengths: Iterable[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.cumsum([0, *lengths], dtype=np.int64)
