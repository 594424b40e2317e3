"""What decides which documents count as duplicates, and how likely a pair is to be found (pure)."""

from math import ceil, comb
from typing import Literal

from shard.records.frozen import Record, require

SCHEME = "words-affine32"
"""Names how text becomes signatures: docs/dedup.md describes it step by step."""
SCHEME_VERSION = 1
"""Grows whenever the same text would get another signature or key."""

Kind = Literal["exact", "minhash"]
Scope = Literal["global", "source", "none"]


class Scheme(Record, frozen=True, kw_only=True):
    """How a text becomes what stands for it in comparisons."""

    kind: Kind = "minhash"
    """`exact`: a key of the normalised text alone; `minhash`: a signature of its word n-grams as well."""
    ngram: int = 5
    """Words of an n-gram. A document with fewer has no signature."""
    num_perm: int = 64
    """Values of a signature."""
    seed: int = 42
    name: str = SCHEME
    version: int = SCHEME_VERSION

    def __post_init__(self) -> None:
        require(1 <= self.ngram <= 64, f"ngram {self.ngram} is not from 1 to 64")
        require(1 <= self.num_perm <= 1024, f"num-perm {self.num_perm} is not from 1 to 1024")
        require(0 <= self.seed < 1 << 64, f"seed {self.seed} is not an unsigned 64-bit number")

    def serves(self, wanted: "Scheme") -> bool:
        """Whether what is made by this scheme has all that is wanted: keys of texts are the same by all."""
        return self == wanted or (wanted.kind == "exact" and (self.name, self.version) == (wanted.name, wanted.version))


class Settings(Record, frozen=True, kw_only=True):
    """What decides which documents are duplicates."""

    scheme: Scheme = Scheme()
    bands: int = 8
    rows: int = 8
    """Values of a signature that two documents must share, all of one band, to be compared."""
    threshold: float = 0.85
    """Share of equal values in two signatures, which estimates their Jaccard similarity, from which on they are
    duplicates."""
    scope: Scope = "global"
    """Whose copies count: of all documents, of those of one named dataset among themselves, or none."""

    def __post_init__(self) -> None:
        require(self.bands >= 1 and self.rows >= 1, f"{self.bands} bands of {self.rows} rows: not one of each at least")
        require(
            self.bands * self.rows <= self.scheme.num_perm,
            f"{self.bands} bands of {self.rows} rows need {self.bands * self.rows} permutations; "
            f"num-perm is {self.scheme.num_perm}",
        )
        require(0 < self.threshold <= 1, f"threshold {self.threshold} is not over 0 and at most 1")

    @property
    def least_equal(self) -> int:
        """Equal values of two signatures from which on they are duplicates."""
        # Not 0.85 * 100, which is a hair over 85.
        return ceil(round(self.threshold * self.scheme.num_perm, 9))

    def compared(self, similarity: float) -> float:
        """Probability that two documents of this Jaccard similarity share a band, and so are compared."""
        return 1.0 - (1.0 - similarity**self.rows) ** self.bands

    def passed(self, similarity: float) -> float:
        """Probability that their signatures, once compared, are equal enough."""
        count = self.scheme.num_perm
        return sum(
            comb(count, equal) * similarity**equal * (1.0 - similarity) ** (count - equal)
            for equal in range(self.least_equal, count + 1)
        )
