"""shard/records/progress.py"""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shard.records.inputs import LineRange
from shard.records.progress import (
    LINE_BYTES,
    AnyEvent,
    HostDone,
    HostIdle,
    HostStarted,
    HostStopping,
    Note,
    Progress,
    RankExited,
    UnitCounts,
    UnitDone,
    UnitFailed,
    UnitsKept,
    decode,
    encode,
    ordinals_of,
    ranges_of,
    shorten,
    shown_ranks,
)

COUNTS = st.integers(0, 10**15)
LINES = st.none() | st.builds(LineRange, start=COUNTS, end=COUNTS, file_bytes=COUNTS)
HOSTS = st.sampled_from(["localhost", "gpu-17.cluster.example.org", "h" * 253])
ORDINALS = st.integers(0, 10**7)
REASONS = st.text(st.characters(), max_size=5000).map(shorten)
"""Any characters: control characters and lone surrogates too."""


def event_of(kind: type[AnyEvent]) -> st.SearchStrategy[AnyEvent]:
    special = {
        HostStarted: {
            "run_id": st.from_regex(r"[a-z0-9][a-z0-9-]{0,80}", fullmatch=True),
            "place": st.builds("{}-{}".format, ORDINALS, COUNTS),
        },
        UnitsKept: {"units": st.lists(st.builds(UnitCounts, ORDINALS, *[COUNTS] * 8, LINES), max_size=25)},
        UnitFailed: {"reason": REASONS, "quarantined": st.booleans()},
        RankExited: {"how": st.just("killed by SIGKILL"), "restarted": st.booleans()},
        Note: {"text": REASONS},
        Progress: {
            "seconds": st.floats(0, 1e7),
            "ranks": st.lists(st.tuples(ORDINALS, st.integers(-1, 10**7), COUNTS), max_size=1000).map(shown_ranks),
        },
        HostIdle: {"quarantined": st.lists(ORDINALS, max_size=200)},
        HostStopping: {"reason": REASONS},
        HostDone: {
            "outcome": st.sampled_from(["complete", "incomplete", "stopped", "failed"]),
            "quarantined": st.lists(ORDINALS, max_size=200),
            "reason": REASONS,
        },
        UnitDone: {"seconds": st.floats(0, 1e7), "lines": LINES},
    }[kind]
    fields = {"host": HOSTS} | {f: COUNTS for f in kind.__struct_fields__ if f != "host"} | special
    return st.builds(kind, **fields)


EVENTS = st.sampled_from(
    [HostStarted, UnitsKept, UnitDone, UnitFailed, RankExited, Note, Progress, HostIdle, HostStopping, HostDone]
).flatmap(event_of)


@given(EVENTS)
def test_events_come_back(event: AnyEvent) -> None:
    """Every event is one line under 4 KiB, and is read back equal; a progress line may leave out its ranks."""
    line = encode(event)
    assert len(line) < LINE_BYTES
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    found = decode(line)
    if isinstance(event, Progress) and found != event:
        event = msgspec.structs.replace(event, ranks=[])
    assert event == found == decode(line.decode())


def test_a_thousand_ranks_fit_a_line() -> None:
    """A host of a thousand ranks shows sixty-four of them."""
    ranks = shown_ranks((rank, 10**6 + rank, 10**12) for rank in reversed(range(1000)))
    assert [rank for rank, _, _ in ranks] == list(range(64))
    event = Progress(
        host="h", units_done=1, units_failed=0, documents=1, tokens=1, text_bytes=1, retries=0, seconds=1.0, ranks=ranks
    )
    line = encode(event)
    assert len(line) < LINE_BYTES
    assert event == decode(line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"Warning: Permanently added 'gpu3' (ED25519) to the list of known hosts.",
        b"{}",
        b"[]",
        b"null",
        b"17",
        b'{"event": "unheard of", "host": "h"}',
        b'{"event": "note"}',
        b'{"event": "note", "host": "h", "text": ',
        b'{"event": "note", "host": "h", "text": 1}',
        b'{"event": "note", "host": "\xff", "text": "x"}',
        b"\xff\xfe",
        b"[" * 100_000,
        '{"event": "note", "host": "\udcff", "text": "x"}',
    ],
)
def test_other_lines_are_no_events(line: bytes | str) -> None:
    """Whatever else stands on standard output is no event, and no error."""
    assert decode(line) is None


@given(st.text(st.characters()))
def test_shorten(reason: str) -> None:
    """A shortened reason is one line of bounded size, and printable text that fits is left as it is."""
    short = shorten(reason)
    assert len(short.encode()) <= 1000
    assert short.isprintable()
    assert shorten(short) == short
    if reason.isprintable() and len(reason.encode()) <= 1000:
        assert " ".join(reason.split()) == short


@given(st.sets(ORDINALS))
def test_ranges(ordinals: set[int]) -> None:
    """Ranges hold exactly the ordinals, and no two of them touch."""
    ranges = ranges_of(ordinals)
    assert sorted(ordinals) == list(ordinals_of(ranges))
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges))
