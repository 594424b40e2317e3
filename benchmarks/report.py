"""Tables and verdicts over what was measured."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table

from benchmarks.contenders import PEAK_MOST_BYTES, STARTUP_MOST_SECONDS, TARGETS, Target
from benchmarks.measured import Measured, ratios
from benchmarks.others import PEERS
from benchmarks.workspace import Truth

All = Mapping[str, Measured]
_UNKNOWN = "-"


def facts(truth: Truth, text_bytes: int) -> str:
    """The corpus in a sentence."""
    return (
        f"corpus: {text_bytes / 1e6:.0f} MB of text, {truth.documents:,} documents ({truth.distinct_documents:,} "
        f"distinct), {truth.words:,} words ({truth.distinct_words:,} distinct), {truth.tokens:,} tokens"
    )


def cold_said(passes: list[dict[str, Any]]) -> str:
    """Encoding alone, on text that the engine has not seen and then has."""
    one = passes[0]
    first, second, last = (
        statistics.median(run["rates"][number] for run in passes) / 1e6 for number in (0, 1, len(one["rates"]) - 1)
    )
    return (
        f"encoding alone, one thread, fresh process: {first:.0f} MB/s of text on first sight of {one['documents']:,} "
        f"real documents ({one['text_bytes'] / 1e6:.1f} MB, {one['distinct_words']:,} distinct words), {second:.0f} "
        f"when it sees them again, {last:.0f} the {len(one['rates'])}th time"
    )


def speed_table(measured: All) -> Table:
    """Everybody's rates and memory."""
    shown = Table(title="MB/s of text: median (least to most)")
    for column in ("", "MB/s", "by CPU", "whole", "Mtok/s", "start s", "peak MB", "tree MB", "output MB", "runs"):
        shown.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, one in measured.items():
        if not one.runs:
            continue
        tokens_a_byte = one.tokens / one.text_bytes
        shown.add_row(
            name,
            _spread(one.rates),
            _rate(one.cpu_rates),
            _rate(one.whole_rates),
            _rate({number: rate * tokens_a_byte for number, rate in one.rates.items()}) if one.tokens else "",
            f"{one.startup_seconds:.2f}" if one.startups else _UNKNOWN,
            f"{one.peak_bytes / 1e6:.0f}",
            f"{one.tree_bytes / 1e6:.0f}",
            f"{one.output_bytes / 1e6:.0f}" if one.output_bytes else "",
            f"{len(one.runs)}",
        )
    return shown


def output_lines(measured: All) -> list[str]:
    """What every contender wrote, against what it was to write."""
    lines = []
    for name, one in measured.items():
        parts = [one.exactness or "; ".join(one.failures)]
        if one.runs and len(one.rates) < len(one.runs):
            parts.append(f"{len(one.runs) - len(one.rates)} runs no longer than the start-up give no rate without it")
        said = "; ".join(part for part in parts if part)
        if not said:
            continue
        if one.contender.kind == "peer":
            said += f" [{PEERS[name].versions}]"
        lines.append(f"{name}: {said}")
    return lines


def verdicts(measured: All) -> list[dict[str, Any]]:
    """Every target that can be judged from what was measured."""
    measured = {name: one for name, one in measured.items() if one.runs}
    found: list[dict[str, Any]] = []
    for target in (*TARGETS, *(target for peer in PEERS.values() for target in peer.targets)):
        if target.above in measured and target.below in measured:
            values = _compared(target, measured[target.above], measured[target.below])
            if not values["ratios"]:
                continue
            median = statistics.median(values["ratios"])
            met = (target.least is None or median >= target.least) and (target.most is None or median <= target.most)
            judged = target.least is not None or target.most is not None
            found.append(asdict(target) | values | {"median": median, "met": met if judged else None})
    ranks = {name: one.peak_bytes for name, one in measured.items() if one.contender.kind == "ours"}
    if ranks:
        largest = max(ranks, key=lambda name: ranks[name])
        found.append(
            {"above": largest, "of": "peak bytes", "most": PEAK_MOST_BYTES, "median": ranks[largest]}
            | {"met": ranks[largest] < PEAK_MOST_BYTES}
        )
    if "rank1" in measured and measured["rank1"].startups:
        seconds = measured["rank1"].startup_seconds
        found.append(
            {"above": "rank1", "of": "start-up", "most": STARTUP_MOST_SECONDS, "median": seconds}
            | {"met": seconds < STARTUP_MOST_SECONDS}
        )
    return found


def verdict_said(verdict: dict[str, Any], measured: All) -> str:
    mark = {True: "met", False: "MISSED", None: "for comparison"}[verdict["met"]]
    median, most = verdict["median"], verdict["most"]
    if verdict["of"] == "peak bytes":
        return f"{mark}: peak memory of {verdict['above']}: {median / 1e6:.0f} MB, to be below {most / 1e6:.0f}"
    if verdict["of"] == "start-up":
        return f"{mark}: start-up of {verdict['above']}, its end included: {median:.2f} s, to be below {most}"
    pair = f"{verdict['above']} / {verdict['below']}"
    if verdict["of"] == "peak":
        return f"{mark}: peak memory of {pair}: {median:.2f}, to be at most {most}"
    values = verdict["ratios"]
    kind = " as whole processes" if verdict["of"] == "whole" else ""
    said = f"{mark}: {pair}{kind}: {median:.2f} ({min(values):.2f} to {max(values):.2f}"
    said += f"; by CPU {statistics.median(verdict['cpu_ratios']):.2f})" if verdict.get("cpu_ratios") else ")"
    if verdict["least"] is not None:
        said += f", to be at least {verdict['least']}"
    below = measured[verdict["below"]]
    if below.contender.kind == "peer":
        said += f"; {verdict['below']}: {below.tree_bytes / 1e6:.0f} MB, {below.exactness or 'output not checked'}"
        if uncounted := PEERS[verdict["below"]].uncounted:
            said += f" ({uncounted})"
    return said


def _compared(target: Target, above: Measured, below: Measured) -> dict[str, list[float]]:
    """One ratio a round, of runs that were made one after the other; and by processor time."""
    if target.of == "peak":
        return {"ratios": [above.peak_bytes / below.peak_bytes]}
    if target.of == "whole":
        return {"ratios": ratios(above.whole_rates, below.whole_rates)}
    return {
        "ratios": ratios(above.rates, below.rates),
        "cpu_ratios": ratios(above.cpu_rates, below.cpu_rates),
    }


def _rate(rates: Mapping[int, float]) -> str:
    """Median, in millions."""
    if not rates:
        return _UNKNOWN
    median = statistics.median(rates.values()) / 1e6
    return f"{median:.0f}" if median >= 100 else f"{median:.1f}"


def _spread(rates: Mapping[int, float]) -> str:
    if not rates:
        return _UNKNOWN
    return f"{_rate(rates)} ({min(rates.values()) / 1e6:.0f} to {max(rates.values()) / 1e6:.0f})"
