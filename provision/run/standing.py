"""How a run stands, host by host: as a table, and as facts for other programs."""

import time

from rich.console import Group, RenderableType
from rich.text import Text

from provision.run.display import clock, human, rows_table
from provision.run.hoststate import HostState
from provision.run.sight import Sight

_COLUMNS = ("host", "state", "units", "tokens", "MB/s text", "tokens/s", "heard", "errors")


def host_facts(sight: Sight) -> dict[str, dict[str, object]]:
    """By host; rates are those of its latest start as a whole, and 0 when it does nothing."""
    tokens = _tokens(sight)
    return {name: _facts(host, tokens.get(name, 0)) for name, host in sight.state.hosts.items()}


def standing(sight: Sight) -> RenderableType:
    """A table of hosts, and below it what is wrong or still runs."""
    state, rows, remarks = sight.state, [], []
    tokens = _tokens(sight)
    for host in state.hosts.values():
        text_rate, token_rate = _rates(host)
        heard = _silent_seconds(host)
        rows.append(
            [
                host.name,
                host.phase,
                f"{host.units_done}/{host.units}",
                human(tokens.get(host.name, 0)),
                f"{text_rate / 1e6:.1f}",
                human(token_rate),
                "never" if heard is None else f"{clock(heard)} ago",
                str(host.errors),
            ]
        )
        if host.name in sight.answers.silent:
            remarks.append(f"{sight.answers.silent[host.name]} (the row is what was known of it here)")
        elif host.reason:
            remarks.append(f"{host.name}: {host.phase}: {host.reason}")
        if commands := sight.answers.left.get(host.name):
            remarks.append(f"{host.name}: {len(commands)} processes running")
    for ordinal, (name, reason) in sorted(state.quarantined.items()):
        remarks.append(f"given up: unit {ordinal} ({state.plan.unit(ordinal).path}) on {name}: {reason}")
    title = f"{state.plan.dataset.name} → {state.plan.run_id}"
    committed = f"{len(state.committed)} of {len(state.plan.units)} units committed"
    return Group(rows_table(title, _COLUMNS, rows), Text("\n".join([committed, *remarks])))


def _facts(host: HostState, tokens: int) -> dict[str, object]:
    text_rate, token_rate = _rates(host)
    return {
        "phase": host.phase,
        "state": host.phase,
        "units_done": host.units_done,
        "units": host.units,
        "tokens": tokens,
        "text_bytes_per_second": round(text_rate, 1),
        "tokens_per_second": round(token_rate, 1),
        "last_heard_seconds": _silent_seconds(host),
        "errors": host.errors,
        "reason": host.reason,
    }


def _tokens(sight: Sight) -> dict[str, int]:
    """By host: in the units that it has committed, train and holdout."""
    tokens: dict[str, int] = {}
    for unit, name in sight.state.committed.items():
        counts = sight.committed[unit].counts
        tokens[name] = tokens.get(name, 0) + counts.tokens + counts.holdout_tokens
    return tokens


def _rates(host: HostState) -> tuple[float, float]:
    """(text bytes, tokens) per second."""
    if host.settled or host.progress is None or host.progress.seconds <= 0:
        return 0.0, 0.0
    return host.progress.text_bytes / host.progress.seconds, host.progress.tokens / host.progress.seconds


def _silent_seconds(host: HostState) -> float | None:
    return round(max(0.0, time.time() - host.last_heard), 1) if host.last_heard else None
