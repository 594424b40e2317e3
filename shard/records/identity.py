"""What decides output bytes, as a record, and records of which each comes behind another."""

import hashlib
from collections.abc import Sequence

from msgspec.structs import replace

from shard.records.compression import Compression
from shard.records.frozen import Record, canonical_json
from shard.records.inputs import Input


class Identity(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that decides output bytes, and nothing else. Its hash is the fingerprint.

    What has been appended to directories has an identity of its own, over the new units, that names the one before it.
    What has a default stands in the JSON only where it is another: so younger fields leave older fingerprints alone.
    """

    format: str
    version: int
    tokenizer_kind: str
    tokenizer_sha256: str
    vocab_size: int
    eod_id: int | None
    dtype: str
    text_column: str
    holdout_rate: float
    holdout_seed: int
    units: int
    """Past the last ordinal."""
    units_sha256: str
    first_unit: int = 0
    """The first ordinal; those before it are of earlier identities."""
    base: str | None = None
    """Fingerprint of the identity before it."""
    bos_id: int | None = None
    input: Input | None = None
    """None where suffixes say all."""
    compression: Compression | None = None
    without: str | None = None
    """Of what has been removed from these units: the identity before, why, and which documents, hashed."""

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) over the canonical JSON of this record."""
        return hashlib.sha256(canonical_json(self)).hexdigest()

    def differing(self, other: "Identity") -> list[str]:
        """One line per field that differs, as `name: ours, not theirs`."""
        return [
            f"{field}: {getattr(self, field)!r}, not {getattr(other, field)!r}"
            for field in self.__struct_fields__
            if getattr(self, field) != getattr(other, field)
        ]


MAY_DIFFER = frozenset({"text_column", "input", "units", "units_sha256", "first_unit", "base", "without"})
"""Fields in which shards of one directory may differ: where their text came from, and which units they are."""


def unlike(ours: Identity, theirs: Identity) -> list[str]:
    """One line per field that keeps shards out of one directory, as `name: ours, not theirs`."""
    return [line for line in ours.differing(theirs) if line.partition(":")[0] not in MAY_DIFFER]


def broken_link(chain: Sequence[Identity]) -> str | None:
    """Why identities, oldest first, do not follow each other, each naming the one before; None when they do."""
    before: Identity | None = None
    for identity in chain:
        if differing := unlike(identity, before or identity):
            return "; ".join(differing)
        first, base = (0, None) if before is None else (before.units, before.fingerprint)
        if (identity.first_unit, identity.base) != (first, base) or identity.units < first:
            return (
                f"units {identity.first_unit} to {identity.units} of base {identity.base}, where {first} and {base} "
                "come next"
            )
        before = identity
    return None


def without_some(identity: Identity, why: object, removed: str) -> Identity:
    """Of what is left of a dataset: `why`, a record, and the sha256 of what is removed become part of it."""
    decisive = canonical_json([identity.fingerprint, why, removed])
    return replace(identity, without=hashlib.sha256(decisive).hexdigest(), first_unit=0, base=None)


def identity_at(chain: Sequence[Identity], ordinal: int) -> Identity | None:
    """The identity to which a unit belongs."""
    return next((one for one in chain if one.first_unit <= ordinal < one.units), None)
