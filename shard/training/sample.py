"""Documents for training, drawn from all over a dataset by a seed, streamed to a file of their own.

The parts of all files are read in an order that the seed decides, a share of the documents from each: so a small
sample is spread over the dataset, and a large one reads what it takes one after the other. The same seed draws the same
documents, wherever and however often. Of the first 2,000 every fourth is held out, for the check of what was trained.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from shard.batch import TextBatch
from shard.records.unit import Unit
from shard.source.parts import Open
from shard.training.spool import Spool

_SPREAD = 64
"""Parts that a sample is drawn from at least, where there are so many."""
_HELD_OUT_EVERY = 4
_HELD_OUT_MOST = 500
LONGEST = 1 << 16
"""Characters of a held-out document that are looked at; longer texts are trained on in pieces of this size."""


@dataclass(slots=True)
class Sample:
    """What was drawn."""

    spool: Spool
    """The documents to train on."""
    held_out: list[str] = field(default_factory=list)
    documents: int = 0
    """To train on."""
    text_bytes: int = 0

    def texts(self) -> Iterator[list[str]]:
        """The text to train on, again and again the same, in pieces."""
        for documents in self.spool.read():
            yield [text[at : at + LONGEST] for text in documents for at in range(0, len(text), LONGEST)]


def draw(units: Sequence[Unit], open_part: Open, spool: Spool, *, documents: int, seed: int) -> Sample:
    """Draw `documents` documents to train on, or all that there are. Raises SourceError, OSError."""
    sample = Sample(spool)
    taken = dict.fromkeys(_shuffled(units, seed), 0)
    while taken and sample.documents < documents:
        share = -(-(documents - sample.documents) // min(len(taken), _SPREAD))
        for unit, before in list(taken.items()):
            if sample.documents >= documents:
                break
            got = _take(unit, open_part, sample, before, share, documents)
            if got < share:
                del taken[unit]  # there is no more in it
            else:
                taken[unit] = before + got
    return sample


def _shuffled(units: Sequence[Unit], seed: int) -> list[Unit]:
    """The same order for the same seed, whatever else is in the list."""
    return sorted(units, key=lambda u: hashlib.sha256(f"{seed} {u.part} {u.parts} {u.path}".encode()).digest())


def _take(unit: Unit, open_part: Open, sample: Sample, skip: int, share: int, documents: int) -> int:
    """Take `share` documents after the first `skip` of a part; returns how many there were."""
    got = 0
    with open_part(unit) as batches:
        for whole in batches:
            first, last = min(skip, whole.documents), min(skip + share - got, whole.documents)
            skip -= first
            batch = _part(whole, first, last)
            got += batch.documents
            _add(sample, batch, documents)
            if got >= share or sample.documents >= documents:
                break
    return got


def _add(sample: Sample, batch: TextBatch, documents: int) -> None:
    # [documents] how many were drawn before each
    drawn = sample.documents + len(sample.held_out) + np.arange(batch.documents)
    held = (drawn % _HELD_OUT_EVERY == 0) & (drawn < _HELD_OUT_EVERY * _HELD_OUT_MOST)
    sample.held_out += [str(batch.document(i), "utf-8")[:LONGEST] for i in np.flatnonzero(held).tolist()]
    kept = np.flatnonzero(~held)[: documents - sample.documents]
    sample.text_bytes += sample.spool.write(batch, kept)
    sample.documents += len(kept)


def _part(batch: TextBatch, first: int, last: int) -> TextBatch:
    """The documents from `first` (inclusive) to `last` (exclusive)."""
    offsets = batch.offsets[first : last + 1]
    return TextBatch(batch.data[offsets[0] : offsets[-1]], offsets - offsets[0], last - first, {})
