"""provision/run/display.py: pictures of what is known."""

import io

import pytest
from rich.console import Console

from provision.hosts import Host
from provision.run.display import clock, dashboard, human, plain_line, short_revision
from provision.run.monitor import ClusterState
from shard.records.progress import HostStarted, Progress
from tests.support.plans import plan_of


def running(hosts: int, ranks: int) -> ClusterState:
    state = ClusterState(plan_of([Host(name=f"host{number}", ranks=ranks) for number in range(hosts)]))
    for now in (0.0, 2.0):
        for name in state.hosts:
            state.apply(HostStarted(host=name, run_id="r", pid=1, ranks=ranks, units=1), now)
            state.apply(
                Progress(
                    host=name,
                    units_done=0,
                    units_failed=0,
                    documents=1234,
                    tokens=5_000_000,
                    text_bytes=int(now * 25_000_000),
                    retries=0,
                    seconds=now,
                    ranks=[(rank, rank, 1_000_000) for rank in range(ranks)],
                ),
                now,
            )
    return state


def drawn(state: ClusterState, width: int) -> str:
    output = io.StringIO()
    Console(file=output, width=width).print(dashboard(state, 3725.0))
    return output.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_dashboard_fits_its_terminal(width: int) -> None:
    """At any width no line is longer than the terminal, and every host is there."""
    picture = drawn(running(4, 2), width)
    assert max(len(line) for line in picture.splitlines()) <= width
    assert all(f"host{number}" in picture for number in range(4))


def test_a_dashboard_shows_figures_ranks_and_time() -> None:
    """Documents, tokens, rank by rank what is being done, and the time gone."""
    picture = drawn(running(2, 2), 120)
    for part in ("1.23 k", "5 M", "rank 1", "unit 1", "1:02:05 gone", "0/6"):
        assert part in picture


def test_many_hosts_are_summed_up() -> None:
    """A picture stays on a screen: hosts beyond two dozen are counted."""
    picture = drawn(running(100, 8), 120)
    assert "76 more" in picture
    assert len(picture.splitlines()) < 50


def test_markup_in_what_hosts_say_is_text() -> None:
    """Square brackets in a message are shown, not obeyed."""
    state = running(1, 1)
    state.messages.append("host0: [red]not red[/red] [/]")
    assert "[red]not red[/red] [/]" in drawn(state, 120)


def test_a_plain_line_has_the_figures() -> None:
    """One line with time, units, rate and hosts."""
    line = plain_line(running(2, 2), 61.0)
    assert "\n" not in line
    for part in ("0:01:01", "0/6 units", "2/2 hosts running"):
        assert part in line


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0"),
        (999, "999"),
        (1500, "1.5 k"),
        (999_499, "999 k"),
        (999_999, "1 M"),
        (2.5e6, "2.5 M"),
        (1.3e12, "1.3 T"),
    ],
)
def test_numbers_for_people(number: float, expected: str) -> None:
    """Large numbers are in thousands, millions, billions, trillions."""
    assert human(number) == expected


def test_revisions_are_shortened_each() -> None:
    """Of several datasets every commit is cut, not the list of them."""
    assert short_revision("0123456789abcdef") == "0123456789ab"
    assert short_revision(f"web={'a' * 40} books={'b' * 64}") == f"web={'a' * 12} books={'b' * 12}"
    assert short_revision("") == ""


def test_a_clock_does_not_wrap_after_a_day() -> None:
    """Hours go on past 24; an unknown time is a dash."""
    assert (clock(100 * 3600 + 61), clock(None)) == ("100:01:01", "–")
