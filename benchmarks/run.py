"""Measures contenders side by side and prints one table; see README.md.

python benchmarks/run.py [NAMES…] [--mb N] [--runs N] [--data DIR] [--json FILE]
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.contenders import CONTENDERS, PEAK_MOST_BYTES, TARGETS, Contender, Setting, Target, Task
from benchmarks.measure import BenchmarkError, Usage, measure, serving
from benchmarks.workspace import Workspace

_LEAST_MEGABYTES = 100


@dataclass
class Measured:
    """All runs of one contender."""

    contender: Contender
    text_bytes: int
    full: Task
    empty: Task
    runs: list[Usage] = field(default_factory=list)
    startups: list[Usage] = field(default_factory=list)
    tokens: int = 0

    @property
    def startup_seconds(self) -> float:
        return statistics.median(usage.seconds for usage in self.startups)

    @property
    def rates(self) -> list[float]:
        """Text bytes per second of every run, without the time that the same takes over nothing."""
        return [self.text_bytes / (usage.seconds - self.startup_seconds) for usage in self.runs]

    @property
    def cpu_rates(self) -> list[float]:
        """The same by processor time: what others do on the machine, and waiting, do not count."""
        startup = statistics.median(usage.cpu_seconds for usage in self.startups)
        return [self.text_bytes / (usage.cpu_seconds - startup) for usage in self.runs]

    @property
    def whole_rates(self) -> list[float]:
        """Text bytes per second of every run, from the first process's start to the last one's end."""
        return [self.text_bytes / usage.seconds for usage in self.runs]

    @property
    def peak_bytes(self) -> int:
        return max(usage.peak_bytes for usage in self.runs)


def run(names: list[str], setting: Setting, rounds: int, console: Console) -> dict[str, Measured]:
    """Prepare all, then measure in turns: what disturbs the machine disturbs all alike."""
    measured: dict[str, Measured] = {}
    for name in names:
        contender = CONTENDERS[name]
        with console.status(f"preparing {name}"):
            corpus = contender.corpus(setting)
            measured[name] = Measured(
                contender,
                corpus.text_bytes,
                contender.task(setting, corpus),
                contender.task(setting, setting.workspace.nothing(contender.startup_files)),
            )
    for number in range(rounds):
        # Another goes first in every round.
        for name in names[number % len(names) :] + names[: number % len(names)]:
            one = measured[name]
            if one.contender.rounds is not None and number >= one.contender.rounds:
                continue
            with console.status(f"round {number + 1} of {rounds}: {name}"):
                one.startups.append(_run_once(one.empty, setting.workspace))
                one.runs.append(_run_once(one.full, setting.workspace))
                one.tokens = sum(_tokens(job) for job in one.full.jobs)
    return measured


def _run_once(task: Task, workspace: Workspace) -> Usage:
    for job in task.jobs:
        shutil.rmtree(job / "out", ignore_errors=True)
    # What an earlier run has left to write is not this one's to wait for.
    os.sync()
    return measure(task.commands, workspace.directory / "log")


def _tokens(job: Path) -> int:
    progress = json.loads((job / "job" / "progress.json").read_text())
    return int(progress["tokens"])


def ratios(target: Target, measured: dict[str, Measured]) -> dict[str, list[float]]:
    """One ratio a round, of runs that were made one after the other; and by processor time."""
    above, below = measured[target.above], measured[target.below]
    if target.of == "peak":
        return {"ratios": [above.peak_bytes / below.peak_bytes]}
    return {
        "ratios": [a / b for a, b in zip(above.rates, below.rates, strict=True)],
        "cpu_ratios": [a / b for a, b in zip(above.cpu_rates, below.cpu_rates, strict=True)],
    }


def table(measured: dict[str, Measured]) -> Table:
    shown = Table(title="MB/s of text: median (least to most)")
    for column in ("", "MB/s", "by CPU", "whole", "Mtok/s", "start s", "peak MB"):
        shown.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, one in measured.items():
        rates = [rate / 1e6 for rate in one.rates]
        tokens = one.tokens / one.text_bytes * statistics.median(rates)
        shown.add_row(
            name,
            f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})",
            f"{statistics.median(one.cpu_rates) / 1e6:.0f}",
            f"{statistics.median(one.whole_rates) / 1e6:.0f}",
            f"{tokens:.1f}" if one.tokens else "",
            f"{one.startup_seconds:.2f}",
            f"{one.peak_bytes / 1e6:.0f}",
        )
    return shown


def verdicts(measured: dict[str, Measured]) -> list[dict[str, Any]]:
    """Every target that can be judged from what was measured."""
    found: list[dict[str, Any]] = []
    for target in TARGETS:
        if target.above in measured and target.below in measured:
            values = ratios(target, measured)
            median = statistics.median(values["ratios"])
            met = (target.least is None or median >= target.least) and (target.most is None or median <= target.most)
            judged = target.least is not None or target.most is not None
            found.append(asdict(target) | values | {"median": median, "met": met if judged else None})
    ranks = {name: one.peak_bytes for name, one in measured.items() if one.full.jobs}
    if ranks:
        largest = max(ranks, key=lambda name: ranks[name])
        found.append(
            {"above": largest, "of": "peak bytes", "most": PEAK_MOST_BYTES, "median": ranks[largest]}
            | {"met": ranks[largest] < PEAK_MOST_BYTES}
        )
    return found


def _said(verdict: dict[str, Any]) -> str:
    mark = {True: "met", False: "MISSED", None: "for comparison"}[verdict["met"]]
    if verdict["of"] == "peak bytes":
        peak, most = verdict["median"] / 1e6, verdict["most"] / 1e6
        return f"{mark}: peak memory of {verdict['above']}: {peak:.0f} MB, to be below {most:.0f}"
    if verdict["of"] == "peak":
        return (
            f"{mark}: peak memory of {verdict['above']} / {verdict['below']}: {verdict['median']:.2f}, "
            f"to be at most {verdict['most']}"
        )
    values = verdict["ratios"]
    said = f"{mark}: {verdict['above']} / {verdict['below']}: {verdict['median']:.2f}"
    said += f" ({min(values):.2f} to {max(values):.2f}; by CPU {statistics.median(verdict['cpu_ratios']):.2f})"
    return said if verdict["least"] is None else f"{said}, to be at least {verdict['least']}"


def _machine(cores: tuple[int, ...]) -> dict[str, Any]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {"cpu": model, "cores": len(cores), "python": platform.python_version(), "load": os.getloadavg()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CONTENDERS)}; default all")
    parser.add_argument("--mb", type=int, default=800, help="millions of bytes of text (default 800)")
    parser.add_argument("--runs", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--data", type=Path, help="directory of Parquet files with real documents in a column 'text'")
    parser.add_argument("--tokenizer", default="r50k_base", help="a tiktoken name, or bytes (default r50k_base)")
    parser.add_argument("--json", type=Path, help="write all measurements there")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "shardfleet-benchmarks",
        help="directory for corpora, which are kept, and shards (default %(default)s)",
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(CONTENDERS)):
        parser.error(f"{', '.join(unknown)}: not among {', '.join(CONTENDERS)}")
    if options.mb < _LEAST_MEGABYTES:
        parser.error(f"--mb {options.mb}: below {_LEAST_MEGABYTES} the start-up is most of what is measured")
    console = Console()
    cores = tuple(sorted(os.sched_getaffinity(0)))
    names = [name for name in CONTENDERS if not options.names or name in options.names]
    for name in [name for name in names if CONTENDERS[name].cores > len(cores)]:
        console.print(f"{name} needs {CONTENDERS[name].cores} cores; this machine offers {len(cores)}")
        names.remove(name)
    workspace = Workspace(options.work.absolute(), options.data.absolute() if options.data else None)
    workspace.hub_root.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as stack:
            endpoint = None
            if any(CONTENDERS[name].hub for name in names):
                endpoint = stack.enter_context(serving(workspace.hub_root, frozenset({cores[1]})))
            setting = Setting(workspace, cores, options.mb, options.tokenizer, endpoint)
            measured = run(names, setting, options.runs, console)
    except BenchmarkError as error:
        sys.exit(f"benchmarks: {error}")
    finally:
        shutil.rmtree(workspace.directory / "jobs", ignore_errors=True)
    found = verdicts(measured)
    console.print(table(measured))
    for verdict in found:
        console.print(_said(verdict), highlight=False)
    if options.json is not None:
        contenders = {
            name: {
                "what": one.contender.what,
                "text_bytes": one.text_bytes,
                "tokens": one.tokens,
                "rates": one.rates,
                "runs": [asdict(usage) for usage in one.runs],
                "startups": [asdict(usage) for usage in one.startups],
            }
            for name, one in measured.items()
        }
        report = {"machine": _machine(cores), "mb": options.mb, "contenders": contenders, "targets": found}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
