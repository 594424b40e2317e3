"""Source files → units, the atoms of work (pure)."""

import hashlib
from collections.abc import Iterator, Sequence

from provision.catalog.types import SourceFile
from provision.errors import PlanError
from shard.records.frozen import canonical_json
from shard.records.inputs import BY_SUFFIX, Input, is_cut, is_grouped, kind_of
from shard.records.unit import Member, Unit

GROUPED = "group:"
"""Begins the content id of a unit of several files."""
_GROUP_FILES = 4096
"""Small files that share a unit, at most: what is done again when one of them cannot be had."""


def units_of(
    files: Sequence[SourceFile], unit_bytes: int, form: Input = BY_SUFFIX, first: int = 0, *, named: bool = False
) -> tuple[Unit, ...]:
    """Cut files into units, in dataset order, numbered from `first` on.

    A file of at most `unit_bytes` is one unit; a larger one becomes the fewest equal byte ranges of at most that size,
    if a reader can begin in the middle of it. Neighbours that are one document each share a unit of at most that size.
    With `named`, paths begin with the name of a dataset, and neighbours are of the same one.
    Hosts and ranks play no part, so the same dataset gives the same shards on any cluster.
    """
    if unit_bytes < 1:
        raise PlanError(f"--unit-size {unit_bytes}: not positive")
    units: list[Unit] = []
    for group in _groups(files, unit_bytes, form, named=named):
        file = group[0]
        if len(group) > 1:
            units.append(_unit_of(group, ordinal=first + len(units)))
            continue
        kind = kind_of(file.path, form)
        parts = max(1, -(-file.size // unit_bytes)) if kind is not None and is_cut(kind, form) else 1
        for part in range(parts):
            units.append(
                Unit(
                    ordinal=first + len(units),
                    path=file.path,
                    size=file.size,
                    content_id=file.content_id,
                    part=part,
                    parts=parts,
                )
            )
    return tuple(units)


def _groups(files: Sequence[SourceFile], unit_bytes: int, form: Input, *, named: bool) -> Iterator[list[SourceFile]]:
    """Runs of neighbours that share a unit; other files alone."""
    group: list[SourceFile] = []
    size = 0
    for file in files:
        kind = kind_of(file.path, form)
        shares = kind is not None and is_grouped(kind, form)
        foreign = named and bool(group) and _dataset(file) != _dataset(group[0])
        if group and (not shares or foreign or size + file.size > unit_bytes or len(group) == _GROUP_FILES):
            yield group
            group, size = [], 0
        if shares:
            group.append(file)
            size += file.size
        else:
            yield [file]
    if group:
        yield group


def _dataset(file: SourceFile) -> str:
    return file.path.partition("/")[0]


def _unit_of(group: Sequence[SourceFile], ordinal: int) -> Unit:
    members = tuple(Member(path=file.path, size=file.size, content_id=file.content_id) for file in group)
    return Unit(
        ordinal=ordinal,
        path=group[0].path,
        size=sum(file.size for file in group),
        content_id=f"{GROUPED}{hashlib.sha256(canonical_json(members)).hexdigest()}",
        members=members,
    )
