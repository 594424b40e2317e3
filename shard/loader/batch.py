"""A batch: the tokens of some samples, and what a trainer wants to know of them, worked out when it is asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shard.errors import LoaderError
from shard.loader.segments import IGNORED, Segments

Allocate = Callable[[tuple[int, ...], Any], NDArray[Any]]
"""(shape, dtype) → an array to fill; `numpy.empty` by default, pinned memory through `shard.loader.torch`."""


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How batches are spelled."""

    dtype: Literal["int32", "int64"] = "int32"
    """Of input_ids and labels."""
    mask_boundaries: bool = False
    """Whether no label crosses from a document into the next. With best_fit and pad none does, whatever this says, and
    padding has no labels."""
    cu_seqlens_size: int | None = None
    """Entries of cu_seqlens, the last one repeated (segments of no tokens): one shape for compiled kernels."""
    pad_id: int | None = None
    """Input of slots without a token; None takes the end-of-document id, or 0 where there is none."""

    def __post_init__(self) -> None:
        if self.dtype not in ("int32", "int64"):
            raise LoaderError(f"dtype {self.dtype!r}: batches are of 'int32' or 'int64'")
        if self.cu_seqlens_size is not None and self.cu_seqlens_size < 2:
            raise LoaderError(f"cu_seqlens_size {self.cu_seqlens_size}: less than the 2 entries of one document")


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of samples. What is a property is computed once, when first asked for; `DataLoader(prepare=…)` has it done
    ahead, in its thread. Arrays are the batch's own: nothing is reused behind them."""

    tokens: NDArray[Any]
    """[rows, context_length + 1] int32 or int64: inputs, and one token more for the last label."""
    samples: NDArray[np.int64]
    """[rows] which sample of its source's dataset each row is."""
    sources: NDArray[np.int32]
    """[rows] the source of each row in a mixture; all 0 without one."""
    find: Callable[[], Segments] = field(repr=False)
    """Looks the documents up."""
    padded: bool
    """Whether its packing pads."""
    options: BatchOptions = BatchOptions()
    step: int = -1
    """Of the run, as `DataLoader.locate` takes it; -1 for a batch that no loader made."""
    epoch: int = -1
    micro_batch_size: int | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def context_length(self) -> int:
        return int(self.tokens.shape[1]) - 1

    @property
    def input_ids(self) -> NDArray[Any]:
        """[rows, context length] int32 or int64, a view into `tokens`."""
        return self.tokens[:, :-1]

    @cached_property
    def segments(self) -> Segments:
        """The documents of the rows."""
        return self.find()

    @cached_property
    def labels(self) -> NDArray[Any]:
        """[rows, context length] as input_ids: the token after each input; -100 where there is none to learn.

        A view into `tokens` where no label is masked.
        """
        shifted = self.tokens[:, 1:]
        if not self._masked:
            return shifted
        labels = shifted.copy()
        labels.reshape(-1)[self.segments.unlabelled(not self.options.mask_boundaries)] = IGNORED
        return labels

    @cached_property
    def loss_mask(self) -> NDArray[np.bool_]:
        """[rows, context length] bool: where labels are not -100."""
        mask = np.ones(self.input_ids.shape, dtype=np.bool_)
        if self._masked:
            mask.reshape(-1)[self.segments.unlabelled(not self.options.mask_boundaries)] = False
        return mask

    @cached_property
    def position_ids(self) -> NDArray[np.int32]:
        """[rows, context length] int32: from 0 at the beginning of every row and every document."""
        return self.segments.position_ids()

    @cached_property
    def document_ids(self) -> NDArray[np.int32]:
        """[rows, context length] int32: 0 for the row's first document, 1 for its second, …; -1 for padding."""
        return self.segments.document_ids()

    @cached_property
    def cu_seqlens(self) -> NDArray[np.int32]:
        """[documents of all rows + 1] int32: where each begins in the flattened batch, and its end, as variable-length
        attention takes it. A row's first document begins with the row. Padding belongs to the document before it."""
        return self.segments.cu_seqlens(self.options.cu_seqlens_size)

    @cached_property
    def max_seqlen(self) -> int:
        """The longest of those documents, in slots."""
        return int(self.segments.lengths().max())

    @property
    def is_continuation(self) -> NDArray[np.bool_]:
        """[rows] bool: whether the row begins within a document that began before it."""
        return self.segments.is_continuation

    def select(self, first: int, last: int) -> "Batch":
        """Rows `first` (inclusive) to `last` (exclusive) as a batch: views, nothing read again."""
        return replace(
            self,
            tokens=self.tokens[first:last],
            samples=self.samples[first:last],
            sources=self.sources[first:last],
            find=lambda: self.segments.select(first, last),
            micro_batch_size=None,
        )

    def micro_batches(self) -> Iterator["Batch"]:
        """The batch in parts of the loader's micro_batch_size, in order; the batch itself where there is none."""
        size = self.micro_batch_size or len(self)
        for first in range(0, len(self), size):
            yield self.select(first, first + size)

    @property
    def _masked(self) -> bool:
        return self.options.mask_boundaries or self.padded
