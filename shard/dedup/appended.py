"""Directories that were appended to, as the one dataset that is left of them without duplicates (pure)."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from msgspec.structs import replace

from shard.records.frozen import canonical_json
from shard.records.identity import Identity, identity_at, without_some
from shard.records.unit import Unit


@dataclass(frozen=True, slots=True)
class Holding:
    """A unit that is there, as its records say."""

    ordinal: int
    path: str
    content_id: str
    bytes: int
    """Of its tokens, train and holdout."""


def units_there(holdings: Iterable[Holding]) -> tuple[Unit, ...]:
    """The same, ascending, as units to work on: what they were cut from is not needed, and nobody knows its size."""
    units: list[Unit] = []
    for (path, content_id), group in groupby(holdings, key=lambda holding: (holding.path, holding.content_id)):
        of_file = list(group)
        size = sum(holding.bytes for holding in of_file)
        for part, holding in enumerate(of_file):
            units.append(
                Unit(
                    ordinal=holding.ordinal,
                    path=path,
                    size=size,
                    content_id=content_id,
                    part=part,
                    parts=len(of_file),
                )
            )
    return tuple(units)


def path_after(chain: Sequence[Identity], ordinal: int, path: str) -> str:
    """What a unit's source file is called in what is left of directories with these identities.

    What was appended may have files of the same names: with the fingerprint of its own before it, each has another. In
    joined directories they may be whole paths, or such as begin with `..`, which no unit of a job may have.
    """
    identity = identity_at(chain, ordinal)
    if len(chain) == 1 or identity is None:
        return path
    return "/".join([identity.fingerprint[:12], *(part for part in path.split("/") if part not in ("", ".", ".."))])


def units_after(chain: Sequence[Identity], holdings: Iterable[Holding]) -> tuple[Unit, ...]:
    """The units of what is left of directories that were appended to: all that are there, by their new paths."""
    return units_there(
        Holding(held.ordinal, path_after(chain, held.ordinal, held.path), held.content_id, held.bytes)
        for held in holdings
    )


def identity_after(chain: Sequence[Identity], units: Sequence[Unit], why: object, removed: str) -> Identity:
    """The identity of what is left; see without_some.

    Of directories that were appended to, it is over `units`, see units_after: each of theirs is over its own alone.
    """
    identity = without_some(chain[-1], why, removed)
    if len(chain) == 1:
        return identity
    return replace(identity, units_sha256=hashlib.sha256(canonical_json(list(units))).hexdigest())
