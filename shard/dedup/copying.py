"""One unit without some of its documents: from its shards into a writer."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from shard.errors import JobError
from shard.formats.payload import Payload
from shard.records.shards import ShardRecord, Split
from shard.storage.stored import StoredShard
from shard.writer import UnitWriter

REASON = "duplicate"
"""Under which removed documents are counted among the dropped rows."""


def copy_unit(
    writer: UnitWriter,
    shards: Mapping[Split, StoredShard],
    removed: Mapping[Split, NDArray[np.int64]],
    count: Callable[[Payload], None] = lambda _: None,
) -> None:
    """Write all documents but those at the positions removed, [duplicates] ascending; `count` is told of every block.

    Raises VerificationError for a damaged shard, JobError for a position that there is not.
    """
    for split, shard in shards.items():
        positions = removed[split]
        if len(positions) and int(positions[-1]) >= shard.record.documents:
            raise JobError(
                f"{shard.payload}: document {positions[-1]} is to be removed, and there are {shard.record.documents}"
            )
        keep = np.ones(shard.record.documents, dtype=np.bool_)
        keep[positions] = False
        first = 0
        for block in shard.blocks():
            documents = len(block.offsets) - 1
            kept = _only(block, keep[first : first + documents])
            writer.write(kept, np.full(len(kept.offsets) - 1, split == "holdout"))
            first += documents
            count(block)


def dropped_with(record: ShardRecord, removed: Mapping[Split, NDArray[np.int64]]) -> dict[str, int]:
    """What the record of train says of dropped rows, and what is removed now."""
    duplicates = sum(len(positions) for positions in removed.values())
    return {**record.dropped, REASON: record.dropped.get(REASON, 0) + duplicates}


def _only(block: Payload, mask: NDArray[np.bool_]) -> Payload:
    """The documents under the mask alone."""
    tokens = np.concatenate([block.tokens[:0], *block.runs(mask)])
    return Payload(tokens, np.concatenate(([0], np.cumsum(block.lengths(mask), dtype=np.int64))))
