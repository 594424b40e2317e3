"""The rank table: which id has which rank, by how often it occurs in a sample (pure).

File: uint32 ids, little-endian, the most frequent first, ids of equal count ascending. Ids that do not stand there
follow in ascending order. The first 65,535 have ranks 0 to 65,534; the others have none, and are exceptions.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.errors import VerificationError
from shard.formats.payload import DTYPES

EXCEPTION = 0xFFFF
"""In place of a rank: the id stands behind the ranks of its frame."""


@dataclass(frozen=True, slots=True)
class RankTable:
    """A table, ready for both ways."""

    rank_of: NDArray[np.uint16]
    """[vocabulary] rank of each id, or EXCEPTION."""
    id_of: NDArray[Any]
    """[65,536] id of each rank, in the type of the tokens; 0 where there is none."""
    ranks: int
    """How many ranks have an id."""


def table_bytes(counts: NDArray[np.int64]) -> bytes:
    """The file, for how often each id occurred: [vocabulary]."""
    seen = np.flatnonzero(counts)
    order = seen[np.argsort(-counts[seen], kind="stable")]
    return order[:EXCEPTION].astype("<u4").tobytes()


def read_table(data: bytes, vocab_size: int, dtype: str, *, where: str) -> RankTable:
    """The table in a file. Raises VerificationError when it is none for such a vocabulary."""
    if len(data) % 4 or len(data) > 4 * EXCEPTION:
        raise VerificationError(f"{where}: {len(data)} bytes are no table of at most {EXCEPTION} ids")
    listed = np.frombuffer(data, dtype="<u4")
    if len(listed) and (listed.max() >= vocab_size or len(np.unique(listed)) != len(listed)):
        raise VerificationError(f"{where}: an id is outside the vocabulary of {vocab_size}, or stands twice")
    others = np.ones(vocab_size, dtype=np.bool_)
    others[listed] = False
    # [at most 65,535] uint32, in order of rank
    ids = np.concatenate([listed, np.flatnonzero(others).astype("<u4")])[:EXCEPTION]
    rank_of = np.full(vocab_size, EXCEPTION, dtype=np.uint16)
    rank_of[ids] = np.arange(len(ids), dtype=np.uint16)
    id_of = np.zeros(1 << 16, dtype=DTYPES[dtype])
    id_of[: len(ids)] = ids
    return RankTable(rank_of, id_of, len(ids))


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
