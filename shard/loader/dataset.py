"""One directory of shards as samples of a context length: map-style, read in batches."""

import hashlib
import operator
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.errors import LoaderError
from shard.formats.payload import DTYPES
from shard.loader.batch import Allocate, Batch, BatchOptions
from shard.loader.layouts import Packing, layout_of
from shard.loader.reader import Reader
from shard.loader.segments import Segments
from shard.loader.splits import split_range
from shard.records.shards import SPLITS, DirectoryRecord
from shard.storage.stored import Stored, open_stored

_DEFAULTS = BatchOptions()


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
        cache_dir: where pack indexes of bos_aligned, best_fit and pad are kept; ~/.cache/shardfleet/packs by default.
        options: for `__getitem__` and `__getitems__`.

    Raises JobError (no such directory, not ours), LoaderError (an argument, no documents), VerificationError.
    """

    def __init__(
        self,
        path: Path | str,
        context_length: int,
        *,
        split: str | None = None,
        packing: str = "concat",
        pad_documents_to: int = 1,
        cache_dir: Path | str | None = None,
        options: BatchOptions = _DEFAULTS,
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        self.context_length = operator.index(context_length)
        self.split = split
        self.packing = packing
        self.options = options
        self._pad_documents_to = pad_documents_to
        self._cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
        recipe = Packing(
            name=packing,
            context_length=self.context_length,
            multiple=pad_documents_to,
            cache_dir=self._cache_dir,
        )
        stored = open_stored(self.path)
        self.record: DirectoryRecord = stored.record
        self.reader = Reader(stored)
        self.document_range = _chosen(split, stored)
        """[first, last) in the directory."""
        first, last = (self.reader.token_of(document) for document in self.document_range)
        self.tokens = last - first
        """In the split."""
        if self.tokens == 0:
            raise LoaderError(f"{self.path}: no tokens in its {self.documents} documents" + _of_split(split))
        self.data_identity = _identity(stored, self.document_range)
        """sha256 over fingerprint, split, shards and their sizes."""
        self.identity = hashlib.sha256(
            f"{self.data_identity} {self.context_length} {recipe.spelled}".encode()
        ).hexdigest()
        """The same, context length and packing: whatever decides samples."""
        self._layout = layout_of(recipe, self.reader, self.document_range, self.identity)
        self._raw: NDArray[Any] = np.empty((0, self.context_length + 1), dtype=DTYPES[self.dtype])

    @property
    def dtype(self) -> str:
        """Of the payload: "uint16" or "uint32"."""
        return self.record.dtype

    @property
    def vocab_size(self) -> int:
        return self.record.tokenizer.vocab_size

    @property
    def eod_id(self) -> int | None:
        return self.record.tokenizer.eod_id

    @property
    def documents(self) -> int:
        """In the split."""
        return self.document_range[1] - self.document_range[0]

    @property
    def left_out(self) -> int:
        """Tokens that are the input of no sample: less than a context for concat and none with padding; with
        bos_aligned the ends of windows' last documents."""
        return self._layout.left_out

    @property
    def padded(self) -> bool:
        """Whether its packing pads."""
        return self._layout.padded

    def __len__(self) -> int:
        """Samples."""
        return self._layout.samples

    def __getitem__(self, sample: int) -> dict[str, NDArray[Any]]:
        """One sample: input_ids, labels, loss_mask, position_ids, document_ids, each [context length]."""
        batch = self.batch(np.array([operator.index(sample)]))
        return {name: getattr(batch, name)[0] for name in _FIELDS}

    def __getitems__(self, samples: Sequence[int]) -> Batch:
        """A batch of these samples."""
        return self.batch(np.asarray(samples, dtype=np.int64))

    def batch(
        self, samples: NDArray[np.int64], options: BatchOptions | None = None, allocate: Allocate = np.empty
    ) -> Batch:
        """A batch of these samples. Raises IndexError, ShardChangedError."""
        options = options or self.options
        tokens = allocate((len(samples), self.context_length + 1), np.dtype(options.dtype))
        self.read(samples, tokens, options)
        return Batch(
            tokens=tokens,
            samples=samples,
            sources=np.zeros(len(samples), dtype=np.int32),
            find=partial(self.segments, samples),
            padded=self.padded,
            options=options,
        )

    def read(self, samples: NDArray[np.int64], out: NDArray[Any], options: BatchOptions) -> None:
        """Fill `out`, [samples, context length + 1]. Raises IndexError, ShardChangedError."""
        if len(samples) and (samples.min() < 0 or samples.max() >= len(self)):
            raise IndexError(f"{self.path}: samples {samples.min()} to {samples.max()} of {len(self)}")
        with self.reader.lock:
            if len(self._raw) < len(samples):
                self._raw = np.empty((len(samples), self.context_length + 1), dtype=DTYPES[self.dtype])
            # [samples, context length + 1] as in the payload; used again for every batch
            raw = self._raw[: len(samples)]
            self._layout.read(self.reader, samples, raw)
            np.copyto(out, raw, casting="unsafe")
        if self.padded:
            self._pad(samples, out, options)

    def _pad(self, samples: NDArray[np.int64], out: NDArray[Any], options: BatchOptions) -> None:
        padding_id = options.pad_id if options.pad_id is not None else self.eod_id or 0
        segments = self.segments(samples)
        out[:, :-1][segments.padding()] = padding_id
        # The token after the last slot is another's, unless the document goes on.
        ends = segments.ends_document[np.append(np.flatnonzero(segments.starts % self.context_length == 0)[1:], 0) - 1]
        out[ends, -1] = padding_id

    def segments(self, samples: NDArray[np.int64]) -> Segments:
        """Where documents lie in these samples. Raises ShardChangedError."""
        return self._layout.segments(self.reader, samples)

    def will_need(self, samples: NDArray[np.int64]) -> None:
        """Begin to bring these samples into memory."""
        self._layout.will_need(self.reader, samples)

    def runs(self, sample: int) -> list[tuple[int, int, int]]:
        """(first slot, first token in the directory, tokens) of what a sample is made of."""
        return self._layout.runs(sample)

    def with_context_length(self, context_length: int) -> "TokenDataset":
        """The same directory, split and packing."""
        return TokenDataset(self.path, context_length, packing=self.packing, **self._rest())

    def with_packing(self, packing: str) -> "TokenDataset":
        """The same directory, split and context length."""
        return TokenDataset(self.path, self.context_length, packing=packing, **self._rest())

    def _rest(self) -> dict[str, Any]:
        return {
            "split": self.split,
            "pad_documents_to": self._pad_documents_to,
            "cache_dir": self._cache_dir,
            "options": self.options,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # Files and locks stay behind: another process opens its own.
        return _opened, (self.path, self.context_length, self.packing, self._rest())

    def close(self) -> None:
        """Let go of files; they are opened again when needed."""
        self.reader.close()


_FIELDS = ("input_ids", "labels", "loss_mask", "position_ids", "document_ids")


def _opened(path: Path, context_length: int, packing: str, rest: dict[str, Any]) -> TokenDataset:
    return TokenDataset(path, context_length, packing=packing, **rest)


def _chosen(split: str | None, stored: Stored) -> tuple[int, int]:
    """[first, last) document of a split."""
    if split is None:
        return 0, stored.documents
    if split in SPLITS:
        if split != stored.record.split:
            raise LoaderError(f"{stored.directory}: holds {stored.record.split}, not {split}")
        return 0, stored.documents
    return split_range(split, stored.documents)


def _of_split(split: str | None) -> str:
    return "" if split is None else f" (split {split!r})"


def _identity(stored: Stored, documents: tuple[int, int]) -> str:
    digest = hashlib.sha256(f"{stored.record.fingerprint} {stored.record.split} {documents}".encode())
    for shard in stored.shards:
        digest.update(f" {shard.record.unit} {shard.record.documents} {shard.record.tokens}".encode())
    return digest.hexdigest()
