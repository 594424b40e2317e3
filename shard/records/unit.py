"""The atom of work: which bytes of which source files."""

import msgspec

from shard.records.frozen import Record, require, stays_below

MOST_UNITS = 10**9
_MOST_BYTES = 1 << 60


class Member(Record, frozen=True, kw_only=True, array_like=True):
    """One of several small files that are one unit."""

    path: str
    size: int
    content_id: str

    def __post_init__(self) -> None:
        require(bool(self.path) and stays_below(self.path), f"path {self.path!r} leads out of the dataset")
        require(0 <= self.size <= _MOST_BYTES, f"{self.path}: size {self.size} is negative or absurd")


class Unit(Record, frozen=True, kw_only=True):
    """The atom of work: one source file, one of `parts` equal byte ranges of it, or several small files.

    A row group, or a line, belongs to the part that holds its first byte, so the launcher splits files without reading
    a footer and the split depends on the dataset alone (the rule of Hadoop's input splits).
    """

    ordinal: int
    """Position in dataset order; names the shard."""
    path: str
    """Relative to the root of the dataset, as the Hub or the file system spells it; of several files, the first."""
    size: int
    """Bytes of the whole source file, or of all files."""
    content_id: str
    """`sha256:…` (LFS), `git:…` (blob), `etag:…`, `tail:…` (size and last 64 KiB), or `group:…` (of several files)."""
    part: int = 0
    parts: int = 1
    # Not None: what a unit of one file is spelled like must never change, for it decides the fingerprint.
    members: tuple[Member, ...] | msgspec.UnsetType = msgspec.UNSET
    """Several small files, a document each; unset for one file."""

    def __post_init__(self) -> None:
        require(0 <= self.ordinal < MOST_UNITS, f"unit ordinal {self.ordinal} is negative or absurd")
        require(bool(self.path), f"unit {self.ordinal} has no path")
        require(stays_below(self.path), f"unit {self.ordinal}: path {self.path!r} leads out of the dataset")
        require(0 <= self.size <= _MOST_BYTES, f"unit {self.ordinal}: size {self.size} is negative or absurd")
        require(0 <= self.part < self.parts <= MOST_UNITS, f"unit {self.ordinal}: part {self.part} of {self.parts}")
        if self.members is not msgspec.UNSET:
            total = sum(member.size for member in self.members)
            require(total == self.size, f"unit {self.ordinal}: {self.size} bytes, but its files have {total}")
            require(self.parts == 1, f"unit {self.ordinal}: several files are not cut into parts")

    @property
    def byte_start(self) -> int:
        """First byte of the part (inclusive)."""
        return self.size * self.part // self.parts

    @property
    def byte_end(self) -> int:
        """End of the part (exclusive)."""
        return self.size * (self.part + 1) // self.parts

    @property
    def bytes(self) -> int:
        """Bytes of source this unit stands for."""
        return self.byte_end - self.byte_start

    @property
    def stem(self) -> str:
        """File name of the unit's shards, without suffix."""
        return f"{self.ordinal:06d}"
