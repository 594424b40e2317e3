"""What a host tells the launcher: one JSON line an event, on standard output.

A line stays below 4 KiB: so much a pipe takes in one piece, whoever else writes into it.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from shard.records.inputs import LineRange

LINE_BYTES = 4096
_RANKS_SHOWN = 64
_REASON_BYTES = 1000


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """Base of all events."""

    host: str


class HostStarted(Event, frozen=True, kw_only=True, tag="host_started"):
    """A supervisor has opened its directories and starts its ranks."""

    run_id: str
    pid: int
    ranks: int
    units: int
    """Of this host's share, finished ones included."""
    place: str = ""
    """Equal on two hosts that write into one directory, as on a shared file system."""


class UnitCounts(msgspec.Struct, frozen=True, array_like=True):
    """What is committed of one unit; an array in JSON, because there are many."""

    unit: int
    row_start: int
    """Of the source file, inclusive."""
    row_end: int
    """Exclusive."""
    file_rows: int
    """Of the whole source file."""
    documents: int
    """In train."""
    holdout_documents: int
    tokens: int
    """In train, end-of-document tokens included."""
    holdout_tokens: int
    dropped: int
    lines: LineRange | None = None
    """As in the record: of a file that is cut by lines."""


class UnitsKept(Event, frozen=True, kw_only=True, tag="units_kept"):
    """Units found committed already."""

    units: list[UnitCounts]


class UnitDone(Event, frozen=True, kw_only=True, tag="unit_done"):
    """A unit has been committed; figures as in UnitCounts."""

    unit: int
    rank: int
    row_start: int
    row_end: int
    file_rows: int
    documents: int
    holdout_documents: int
    tokens: int
    holdout_tokens: int
    dropped: int
    text_bytes: int
    seconds: float
    lines: LineRange | None = None

    @property
    def counts(self) -> UnitCounts:
        return UnitCounts(*(getattr(self, field) for field in UnitCounts.__struct_fields__))


class UnitFailed(Event, frozen=True, kw_only=True, tag="unit_failed"):
    """An attempt at a unit has failed; it is tried again unless quarantined."""

    unit: int
    rank: int
    attempt: int
    quarantined: bool
    reason: str


class RankExited(Event, frozen=True, kw_only=True, tag="rank_exited"):
    """A rank process has ended when it should not have."""

    rank: int
    how: str
    restarted: bool


class Note(Event, frozen=True, kw_only=True, tag="note"):
    """Something the user should know that is no failure."""

    text: str


class Progress(Event, frozen=True, kw_only=True, tag="progress"):
    """Sums since the supervisor started, every few seconds; doubles as heartbeat."""

    units_done: int
    units_failed: int
    pending: int = 0
    """Units that no rank has begun."""
    documents: int
    tokens: int
    text_bytes: int
    retries: int
    """Requests to the Hub that were tried again."""
    seconds: float
    ranks: list[tuple[int, int, int]]
    """(rank, unit or -1, text bytes) of up to 64 ranks."""


class HostIdle(Event, frozen=True, kw_only=True, tag="host_idle"):
    """Nothing is left to do here, and more can be taken. When the launcher hangs up now, the host is done."""

    units_done: int
    units: int
    quarantined: list[int]
    requests: int
    """How many changes of its share this supervisor had taken in when it said so."""


class HostStopping(Event, frozen=True, kw_only=True, tag="host_stopping"):
    reason: str


class HostDone(Event, frozen=True, kw_only=True, tag="host_done"):
    """The last word of a supervisor."""

    outcome: Literal["complete", "incomplete", "stopped", "failed"]
    units_done: int
    """Committed, earlier runs included."""
    units: int
    quarantined: list[int]
    reason: str = ""


class HostLost(Event, frozen=True, kw_only=True, tag="host_lost"):
    """Said by the launcher: nothing has been heard of this host for long, and it cannot be reached."""

    reason: str


class HostRestarted(Event, frozen=True, kw_only=True, tag="host_restarted"):
    """Said by the launcher: this host hung up or was silent, and is started again."""

    reason: str


class UnitsMoved(Event, frozen=True, kw_only=True, tag="units_moved"):
    """Said by the launcher: these units are now `host`'s to do."""

    units: list[tuple[int, int]]
    """Ordinals as [start, end) ranges."""
    why: str


AnyEvent = (
    HostStarted
    | UnitsKept
    | UnitDone
    | UnitFailed
    | RankExited
    | Note
    | Progress
    | HostIdle
    | HostStopping
    | HostDone
    | HostLost
    | HostRestarted
    | UnitsMoved
)

_decoder = msgspec.json.Decoder(AnyEvent)


def encode(event: AnyEvent) -> bytes:
    """One line, newline included."""
    line = msgspec.json.encode(event)
    if len(line) >= LINE_BYTES and isinstance(event, Progress):
        line = msgspec.json.encode(msgspec.structs.replace(event, ranks=[]))
    return line + b"\n"


def decode(line: bytes | str) -> AnyEvent | None:
    """The event in a line, or None: whatever else stands on standard output is a log line."""
    try:
        event: AnyEvent = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return event


def shorten(reason: str) -> str:
    """A reason that fits a line, as one line of text that JSON can hold."""
    # Control characters and lone surrogates, as file names may have them, would grow when written, or not be written.
    flat = " ".join("".join(c if c.isprintable() else " " for c in reason).split())
    if len(flat.encode()) <= _REASON_BYTES:
        return flat
    return flat.encode()[: _REASON_BYTES - 3].decode(errors="ignore") + "…"


def shown_ranks(ranks: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """As many ranks as fit a line."""
    return sorted(ranks)[:_RANKS_SHOWN]


def ranges_of(ordinals: Iterable[int]) -> list[tuple[int, int]]:
    """Sorted ordinals → [start, end) ranges."""
    ranges: list[tuple[int, int]] = []
    for ordinal in sorted(ordinals):
        if ranges and ranges[-1][1] == ordinal:
            ranges[-1] = (ranges[-1][0], ordinal + 1)
        else:
            ranges.append((ordinal, ordinal + 1))
    return ranges


def ordinals_of(ranges: Iterable[tuple[int, int]]) -> Iterator[int]:
    """[start, end) ranges → ordinals."""
    for start, end in ranges:
        yield from range(start, end)
