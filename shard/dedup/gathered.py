"""Duplicates among the shards of many hosts: keys that have come to this machine, signatures that are asked for."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shard.dedup.find import find_duplicates
from shard.dedup.lists import pack_lists, removed_of, removed_sha256, shard_name, write_lists
from shard.dedup.parts import Duplicates, Take
from shard.dedup.questions import DIGEST_BYTES, Wanted, banded, keys_size
from shard.errors import VerificationError
from shard.records.dedup import Settings
from shard.records.shards import SPLITS, Split


@dataclass(frozen=True, slots=True)
class Some:
    """Documents of one unit whose signatures are wanted."""

    unit: int
    positions: NDArray[np.int64]
    """Ascending, those of train before those of holdout."""

    @property
    def count(self) -> int:
        return len(self.positions)

    def wanted(self) -> Wanted:
        """As it is sent."""
        return Wanted(self.unit, self.positions.tolist())


FetchUnits = Callable[[Mapping[int, Some], Take], None]
"""Given what is wanted of units, by their place in the order: has their signatures taken."""


@dataclass(frozen=True, slots=True)
class UnitKeys:
    """The keys of one unit's documents, in a file of this machine."""

    unit: int
    documents: Mapping[Split, int]
    source: str
    """Name of the dataset it is from, among several."""
    path: Path

    def is_here(self, settings: Settings) -> bool:
        """Whether the whole file is."""
        try:
            return self.path.stat().st_size == keys_size(settings, sum(self.documents.values()))
        except OSError:
            return False

    def read(self, settings: Settings) -> NDArray[np.uint64]:
        """[documents, 2 + bands] uint64. Raises VerificationError."""
        data = self.path.read_bytes()
        if hashlib.sha256(data[DIGEST_BYTES:]).digest() != data[:DIGEST_BYTES]:
            raise VerificationError(f"{self.path}: damaged; remove it and start again, it is fetched anew then")
        return np.frombuffer(data[DIGEST_BYTES:], dtype="<u8").reshape(-1, 2 + banded(settings))


@dataclass(frozen=True, slots=True)
class _Unit:
    """One unit, train before holdout; a Part."""

    keys: UnitKeys
    settings: Settings

    @property
    def documents(self) -> int:
        return sum(self.keys.documents.values())

    @property
    def source(self) -> str:
        return self.keys.source

    def exact(self) -> NDArray[np.uint64]:
        return self.keys.read(self.settings)[:, :2]

    def banded(self) -> NDArray[np.uint64]:
        return self.keys.read(self.settings)[:, 2:]


@dataclass(frozen=True, slots=True)
class Found:
    """What is to be removed from every shard."""

    duplicates: Duplicates
    sizes: list[tuple[str, int]]
    """Name and number of documents of every shard, as numbered."""
    lists: Mapping[str, NDArray[np.int64]]
    """[duplicates] positions within each, ascending."""

    @property
    def sha256(self) -> str:
        """Of all lists."""
        return removed_sha256(self.lists.values())

    def write(self, directory: Path) -> None:
        """Write a list for every shard."""
        write_lists(self.duplicates, self.sizes, directory)

    def pack(self, units: Iterable[int], path: Path) -> None:
        """Write the lists of some units as one file."""
        names = (shard_name(f"{unit:06d}", split) for unit in units for split in SPLITS)
        pack_lists({name: self.lists[name] for name in names}, path)


def find_gathered(
    units: Sequence[UnitKeys], settings: Settings, work: Path, fetch: FetchUnits, memory: int | None = None
) -> Found:
    """Find the duplicates among all documents: by unit, in a unit train before holdout.

    Raises as find_duplicates does.
    """

    def fetch_parts(wanted: Mapping[int, NDArray[np.int64]], take: Take) -> None:
        fetch({number: Some(units[number].unit, positions) for number, positions in wanted.items()}, take)

    duplicates = find_duplicates([_Unit(unit, settings) for unit in units], settings, work, fetch_parts, memory)
    sizes = [(shard_name(f"{unit.unit:06d}", split), unit.documents[split]) for unit in units for split in SPLITS]
    return Found(duplicates, sizes, removed_of(duplicates, sizes))
