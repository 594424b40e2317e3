"""What directories of shards hold, for who wants to append to them: identities, and every unit's source file."""

from pathlib import Path

import msgspec

from shard.errors import StoreError
from shard.records.shards import DIRECTORY_FILE, DirectoryRecord, read_directory, read_shard


class UnitThere(msgspec.Struct, frozen=True, array_like=True):
    """One committed unit; an array in JSON, because there are many."""

    unit: int
    path: str
    content_id: str


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of one host."""

    record: DirectoryRecord | None
    """Of train; None where there is nothing yet."""
    units: list[UnitThere]
    """Those with both records, ascending."""


def contents_of(output_dir: Path, holdout_dir: Path) -> Contents:
    """Read the records of a pair of directories, and no payload.

    Raises JobError for a record that cannot be read, StoreError for directories that are no pair.
    """
    output, holdout = output_dir.expanduser(), holdout_dir.expanduser()
    present = [directory for directory in (output, holdout) if (directory / DIRECTORY_FILE).exists()]
    if not present:
        return Contents(record=None, units=[])
    if len(present) == 1:
        lacking = holdout if present == [output] else output
        raise StoreError(
            f"{lacking}: no {DIRECTORY_FILE} there, as {present[0]} has; name the pair that belongs together"
        )
    train, held_out = read_directory(output), read_directory(holdout)
    if (train.split, held_out.split) != ("train", "holdout"):
        raise StoreError(f"{output} holds {train.split} and {holdout} {held_out.split}; train and holdout are a pair")
    # One may have taken up an append that was cut short before the other.
    shorter, longer = sorted((train, held_out), key=lambda record: len(record.chain))
    if longer.chain[: len(shorter.chain)] != shorter.chain:
        raise StoreError(
            f"{output} and {holdout} are of two datasets: fingerprints {train.fingerprint[:12]} and "
            f"{held_out.fingerprint[:12]}"
        )
    stems = _stems(output) & _stems(holdout)
    records = (read_shard(output, stem) for stem in sorted(stems, key=int))
    units = [UnitThere(record.unit, record.source.path, record.source.content_id) for record in records]
    return Contents(record=train if train is longer else msgspec.structs.replace(held_out, split="train"), units=units)


def _stems(directory: Path) -> set[str]:
    return {path.stem for path in directory.glob("[0-9]*.json") if path.stem.isdigit()}
