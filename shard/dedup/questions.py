"""What the launcher asks a host about the signatures beside its shards; answers are bytes, see answers.py."""

import msgspec

from shard.records.dedup import Scheme, Settings


class KeysQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """For the keys of all documents of some units, train before holdout."""

    settings: Settings
    units: list[int]


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """Some documents of one unit."""

    unit: int
    positions: list[int]
    """Ascending, those of train before those of holdout."""


class SignaturesQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """For the signatures of some documents."""

    scheme: Scheme
    wanted: list[Wanted]


DIGEST_BYTES = 32


def keys_size(settings: Settings, documents: int) -> int:
    """Bytes of the answer for a unit: the sha256 of the rest, then the keys of a document and its bands in a row."""
    return DIGEST_BYTES + documents * 8 * (2 + banded(settings))


def banded(settings: Settings) -> int:
    """Bands that documents have keys of."""
    return settings.bands if settings.scheme.kind == "minhash" else 0
