"""ClusterState → what a person sees. Draws, decides nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from provision.run.hoststate import HostState
from provision.run.monitor import ClusterState
from shard.records.progress import Progress

_MESSAGES_SHOWN = 8
_HOSTS_SHOWN = 24
_OTHER_ROWS = 5 + _MESSAGES_SHOWN
"""Of the dashboard, beside hosts: its frame, the head, the hosts not shown, the sum, and the messages."""
_PHASE_STYLES = {
    "waiting": "dim",
    "running": "cyan",
    "idle": "green",
    "absent": "dim",
    "stopping": "yellow",
    "complete": "green",
    "incomplete": "red",
    "stopped": "yellow",
    "failed": "bold red",
    "lost": "bold red",
}


def human(number: float) -> str:
    """1234567 → 1.23 M, in the units that people count tokens in."""
    for scale, suffix in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= 0.9995 * scale:  # 999,999 is 1 M, not 1e+03 k
            return f"{number / scale:.3g}{suffix}"
    return f"{number:.0f}"


def short_revision(revision: str) -> str:
    """A commit by its first twelve digits; of several datasets, each behind its name."""
    pairs = [part.rpartition("=") for part in revision.split()]
    return " ".join(f"{name}{sign}{digits[:12]}" for name, sign, digits in pairs)


def clock(seconds: float | None) -> str:
    """Hours that do not wrap after a day."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def dashboard(state: ClusterState, elapsed: float, *, ctrl_c: str = "stops every host") -> RenderableType:
    """Cluster, hosts, ranks and the latest messages; `ctrl_c` is what that does to whoever sees it.

    Of many hosts so many are shown as leave room for the rest on the terminal.
    """
    return _Dashboard(state, elapsed, ctrl_c)


@dataclass(frozen=True, slots=True)
class _Dashboard:
    state: ClusterState
    elapsed: float
    ctrl_c: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = console.height - _OTHER_ROWS if console.is_terminal else _HOSTS_SHOWN
        yield _panel(self.state, self.elapsed, self.ctrl_c, hosts_shown=max(1, min(_HOSTS_SHOWN, room)))


def _panel(state: ClusterState, elapsed: float, ctrl_c: str, *, hosts_shown: int) -> Panel:
    table = Table(expand=True, box=None, header_style="bold", pad_edge=False)
    table.add_column("host", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("units", justify="right")
    table.add_column("", ratio=1, min_width=8)
    for name in ("documents", "tokens", "MB/s text", "tokens/s", "errors"):
        table.add_column(name, justify="right", no_wrap=True)
    hosts = sorted(state.hosts.values(), key=lambda host: (host.ended, host.name))
    for host in hosts[:hosts_shown]:
        _add_host(table, host, ranks=len(hosts) <= 4)
    if len(hosts) > hosts_shown:
        table.add_row(f"… and {len(hosts) - hosts_shown} more", style="dim")
    table.add_section()
    _add_total(table, state)
    title = f"{state.plan.dataset.name} → {state.plan.run_id}"
    subtitle = f"{clock(elapsed)} gone · {clock(state.seconds_left())} left · Ctrl+C {ctrl_c}"
    messages = Text("\n".join(list(state.messages)[-_MESSAGES_SHOWN:]), style="dim", overflow="fold")
    return Panel(Group(table, messages), title=Text(title), subtitle=subtitle)


def plain_line(state: ClusterState, elapsed: float) -> str:
    """One line for a log."""
    text_rate, token_rate = _rates(list(state.hosts.values()))
    running = sum(host.phase == "running" for host in state.hosts.values())
    return (
        f"{clock(elapsed)}  {len(state.committed)}/{len(state.plan.units)} units  {human(state.totals.tokens)} tokens  "
        f"{text_rate / 1e6:.1f} MB/s  {human(token_rate)} tokens/s  {running}/{len(state.hosts)} hosts running  "
        f"{len(state.quarantined)} failed  left {clock(state.seconds_left())}"
    )


def live(console: Console) -> Live:
    """A display that redraws itself in place."""
    return Live(console=console, auto_refresh=False, transient=False)


def rows_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> Table:
    """A plain table; numbers to the right."""
    table = Table(title=title, caption=caption or None, title_justify="left", caption_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _add_host(table: Table, host: HostState, *, ranks: bool) -> None:
    text_rate, token_rate = host.rate()
    progress = host.progress
    table.add_row(
        Text(host.name),
        Text(host.phase, style=_PHASE_STYLES[host.phase]),
        f"{host.units_done}/{host.units}",
        ProgressBar(total=max(1, host.units), completed=host.units_done),
        human(progress.documents) if progress else "–",
        human(progress.tokens) if progress else "–",
        f"{text_rate / 1e6:.1f}",
        human(token_rate),
        Text(str(host.errors), style="red" if host.errors else "dim"),
    )
    if ranks and progress is not None and host.phase == "running":
        _add_ranks(table, progress)


def _add_ranks(table: Table, progress: Progress) -> None:
    for rank, unit, text_bytes in progress.ranks:
        doing = f"unit {unit}" if unit >= 0 else "idle"
        table.add_row(
            f"  rank {rank}", Text(doing, style="dim"), "", "", "", "", f"Σ {text_bytes / 1e6:.0f} MB", style="dim"
        )


def _add_total(table: Table, state: ClusterState) -> None:
    text_rate, token_rate = _rates(list(state.hosts.values()))
    cells: list[Any] = [
        "cluster",
        f"{state.plan.world_size} ranks",
        f"{len(state.committed)}/{len(state.plan.units)}",
        ProgressBar(total=max(1, len(state.plan.units)), completed=len(state.committed)),
        human(state.totals.documents + state.totals.holdout_documents),
        human(state.totals.tokens + state.totals.holdout_tokens),
        f"{text_rate / 1e6:.1f}",
        human(token_rate),
        str(sum(host.errors for host in state.hosts.values())),
    ]
    table.add_row(*cells, style="bold")


def _rates(hosts: Sequence[HostState]) -> tuple[float, float]:
    rates = [host.rate() for host in hosts]
    return sum(rate[0] for rate in rates), sum(rate[1] for rate in rates)
