"""The ledger of a run: which unit is committed where, with its counts; a line for every commit, the last one counts.

It is what remains of a host that cannot be asked any more.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from shard.records.progress import UnitCounts
from shard.storage.disk import write_atomic


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One commit."""

    host: str
    counts: UnitCounts


class _Head(msgspec.Struct, frozen=True):
    """The first line."""

    fingerprint: str


Ledger = dict[int, Entry]
"""By unit."""

_entry = msgspec.json.Decoder(Entry)
_head = msgspec.json.Decoder(_Head)


def read_ledger(path: Path, fingerprint: str) -> Ledger:
    """What is known; nothing, where there is no ledger of this fingerprint: hosts tell again what they have."""
    try:
        lines = path.read_bytes().split(b"\n")
        if _head.decode(lines[0]).fingerprint != fingerprint:
            return {}
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
    return {entry.counts.unit: entry for entry in _entries(lines[1:])}


def write_ledger(path: Path, fingerprint: str, ledger: Mapping[int, Entry]) -> None:
    """Write it anew, a line for every unit."""
    lines = [msgspec.json.encode(_Head(fingerprint)), b""]
    commits = (encode_entry(ledger[unit]) for unit in sorted(ledger))
    write_atomic(path, b"\n".join(lines) + b"".join(commits), mode=0o600)


def encode_entry(entry: Entry) -> bytes:
    """The line of a commit."""
    return msgspec.json.encode(entry) + b"\n"


def _entries(lines: list[bytes]) -> Iterator[Entry]:
    for line in lines:
        try:
            yield _entry.decode(line)
        except msgspec.DecodeError:
            continue  # empty, or the last word of a launcher that was killed
