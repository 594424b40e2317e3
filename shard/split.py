"""Train or holdout, by content (pure).

A document is held out iff xxh3_64(its UTF-8, seed) < rate · 2^64. So exact duplicates never sit on both sides, and the
choice depends on neither order, shard nor host. Of a document of several sequences that is the UTF-8 of all of them in
a row, nothing between: the same text is on one side however it was cut.
"""

import numpy as np
import xxhash
from numpy.typing import NDArray

from shard.batch import TextBatch
from shard.records.job import Holdout


def held_out(texts: TextBatch, holdout: Holdout) -> NDArray[np.bool_]:
    """[documents] bool: which documents of a batch are held out."""
    threshold = holdout.threshold
    if threshold == 0:
        return np.zeros(texts.documents, dtype=np.bool_)
    digest, seed, data = xxhash.xxh3_64_intdigest, holdout.seed, texts.data.data
    offsets = texts.offsets.tolist()
    return np.fromiter(
        (digest(data[offsets[i] : offsets[i + 1]], seed) < threshold for i in range(texts.documents)),
        dtype=np.bool_,
        count=texts.documents,
    )
