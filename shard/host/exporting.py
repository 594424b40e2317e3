"""How far an export on this host is, seen from beside it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from shard.errors import JobError
from shard.records.shards import read_shard
from shard.storage.whole import left_unfinished


class Exporting(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of one host."""

    written: int
    """Bytes of the export so far, those that it shares with the shards included."""
    shards: int
    """Bytes of the payloads that it is made from."""


def exporting(directories: Sequence[Path], target: Path) -> Exporting:
    """Look at what is written for `target`; nothing is opened but records."""
    files = (file for root in left_unfinished(target.expanduser().absolute()) for file in root.rglob("*"))
    return Exporting(
        written=sum(file.stat().st_size for file in files if file.is_file()),
        shards=sum(_payloads(directory.expanduser()) for directory in directories),
    )


def _payloads(directory: Path) -> int:
    total = 0
    for path in directory.glob("[0-9]*.json"):
        try:
            total += read_shard(directory, path.stem).payload_bytes
        except JobError:
            continue  # the export itself says what is wrong with it
    return total
