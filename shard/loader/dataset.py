"""One directory of shards as samples of a context length: map-style, read in batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.loader.batch import Allocate, Batch, BatchOptions


class TokenDataset:
    """Samples of one directory (train or holdout), in dataset order.

    Args:
        path: a directory with dataset.json.
        context_length: inputs of a sample; a sample reads one token more.
        split: None for all documents; "train" or "holdout" to insist on the directory's own; "949,50,1:train",
            ":valid", ":test" (or ":0", ":1", …) for a part of its documents, cut in dataset order by these weights.
        packing: "concat" (windows over all documents in a row, neighbours share their boundary token), "bos_aligned"
            (windows that begin with a document), "best_fit" (whole documents, packed tightly), "pad" (whole documents
            in dataset order, padding between them). The last two cut documents longer than the context.
        pad_documents_to: with best_fit and pad, documents take multiples of so many slots.
        cache_dir: where pack indexes of bos_aligned, best_fit and pad are kept; ~/.cache/shardfleet by default.
        options: for `__getitem__` and `__getitems__`.

    Raises JobError (no such directory, not ours), LoaderError (an argument, no documents), VerificationError.
    """

    context_length: int
    packing: str
    options: BatchOptions
    identity: str
    """sha256 over what decides samples: fingerprint, split, shards and their sizes, context length, packing."""
    dtype: str
    """Of the payload: "uint16" or "uint32"."""
    vocab_size: int
    eod_id: int | None
    documents: int
    tokens: int
    """In the split."""

    def __init__(
        self,
        path: Path | str,
        context_length: int,
        *,
        split: str | None = None,
        packing: str = "concat",
        pad_documents_to: int = 1,
        cache_dir: Path | str | None = None,
        options: BatchOptions = BatchOptions(),
    ) -> None:
        raise NotImplementedError

    def __len__(self) -> int:
        """Samples."""
        raise NotImplementedError

    def __getitem__(self, sample: int) -> dict[str, NDArray[Any]]:
        """One sample: input_ids, labels, loss_mask, position_ids, document_ids, each [context length]."""
        raise NotImplementedError

    def __getitems__(self, samples: Sequence[int]) -> Batch:
        """A batch of these samples."""
        raise NotImplementedError

    def batch(
        self, samples: NDArray[np.int64], options: BatchOptions | None = None, allocate: Allocate = np.empty
    ) -> Batch:
        """A batch of these samples. Raises IndexError, ShardChangedError."""
        raise NotImplementedError

    def with_context_length(self, context_length: int) -> "TokenDataset":
        """The same directory, split and packing."""
        raise NotImplementedError

    def with_packing(self, packing: str) -> "TokenDataset":
        raise NotImplementedError

    def close(self) -> None:
        """Let go of files; they are opened again when needed."""
        raise NotImplementedError
