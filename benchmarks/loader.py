"""Measures loaders side by side over the same tokens and prints one table; see README.md.

python benchmarks/loader.py [NAMES…] [--mb N] [--runs N] [--context-length N] [--batch-size N] [--json FILE]
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.loaderdata import Data, evict, fetch, many_documents
from benchmarks.loaders.protocol import Answer
from benchmarks.measure import BenchmarkError, Usage, measure
from benchmarks.readers import READERS, Reader
from benchmarks.tree import Patience
from benchmarks.workspace import Workspace

LIMIT = "memmap"
_PATIENCE = Patience(300.0, 60.0)
_MANY = (1_000_000, 1_000_000_000)
"""Documents of the directories that only opening is measured on."""
_RATES = {"rate": "seconds", "cpu rate": "cpu_seconds"}
"""Tokens by the clock, and by the processor's time, which is steadier on a machine with other work."""


@dataclass
class Measured:
    """All runs of one loader, by kind."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    usages: dict[str, list[Usage]] = field(default_factory=dict)
    """Of the same runs: processor time, among others."""
    failures: list[str] = field(default_factory=list)

    def values(self, kind: str, what: str) -> list[float]:
        """One figure of every run of a kind."""
        found = self.answers.get(kind, ())
        if what in _RATES:
            return [one.tokens / getattr(one, _RATES[what]) for one in found]
        return [getattr(one, what) for one in found]


@dataclass(frozen=True)
class Setting:
    """What all loaders share."""

    data: Data
    batch_size: int
    cores: frozenset[int]
    seconds: float
    cold_batches: int
    half: int
    """Batches in half an epoch."""

    def run(self, reader: Reader, measured: Measured, kind: str, source: Path, *limit: object) -> None:
        """One process; what it answers is kept under its kind. A failure is noted."""
        log = self.data.workspace.directory / f"log-loader-{reader.name}"
        try:
            usage = measure([reader.command(self.data, source, self.batch_size, self.cores, *limit)], log, _PATIENCE)
        except BenchmarkError as error:
            measured.failures.append(f"{kind or 'preparing'}: {error}")
            return
        if kind:
            measured.answers.setdefault(kind, []).append(Answer.read(log))
            measured.usages.setdefault(kind, []).append(usage)


def prepare(reader: Reader, measured: Measured, setting: Setting) -> None:
    """Exports, caches, states; modules compiled. Nothing of it is measured."""
    source = reader.source(setting.data)
    if reader.resumes:
        setting.run(reader, measured, "", source, "--prepare", setting.half)
    setting.run(reader, measured, "", source, "--batches", 1)


def measure_round(reader: Reader, measured: Measured, setting: Setting) -> None:
    """Warm, from the middle of the epoch, and cold."""
    source, scratch = reader.source(setting.data), reader.scratch(setting.data)
    setting.run(reader, measured, "warm", source, "--seconds", setting.seconds)
    if reader.resumes:
        setting.run(reader, measured, "resume", source, "--batches", 1, "--done", setting.half)
    evict([source, scratch])
    setting.run(reader, measured, "cold", source, "--batches", setting.cold_batches)
    fetch([source, scratch])


def open_many(reader: Reader, measured: Measured, setting: Setting) -> None:
    """The first batch of very many documents."""
    for documents in _MANY:
        target = setting.data.workspace.directory / "loader" / f"documents-{documents}"
        many_documents(setting.data.shards(), target, documents)
        setting.run(reader, measured, f"documents-{documents}", target, "--batches", 1)
        setting.run(reader, measured, f"resume-{documents}", target, "--batches", 1, "--done", 1_000)


def _said(values: list[float], scale: float, digits: int) -> str:
    if not values:
        return ""
    scaled = sorted(value * scale for value in values)
    return f"{statistics.median(scaled):,.{digits}f} ({scaled[0]:,.{digits}f}–{scaled[-1]:,.{digits}f})"


def _ratio(one: Measured, other: Measured, kind: str, rate: str = "rate") -> str:
    """Median of the ratios of runs of the same round."""
    pairs = list(zip(one.values(kind, rate), other.values(kind, rate), strict=False))
    return f"{statistics.median(a / b for a, b in pairs):.2f}" if pairs else ""


def table(measured: dict[str, Measured]) -> Table:
    """Medians, least and most."""
    shown = Table(title="Loaders over the same tokens: median (least to most)", title_justify="left")
    shown.add_column("loader")
    shown.add_column("shuffles")
    for name in (
        *("warm, M tokens/s", "of memmap", "by CPU", "of memmap", "cold, M tokens/s", "of memmap"),
        *("first batch, s", "resume, ms"),
        *("peak MB", "own MB"),
    ):
        shown.add_column(name, justify="right", no_wrap=True)
    limit = measured.get(LIMIT, Measured())
    for name, one in measured.items():
        shown.add_row(
            name,
            READERS[name].order,
            _said(one.values("warm", "rate"), 1e-6, 0),
            _ratio(one, limit, "warm"),
            _said(one.values("warm", "cpu rate"), 1e-6, 0),
            _ratio(one, limit, "warm", "cpu rate"),
            _said(one.values("cold", "rate"), 1e-6, 0),
            _ratio(one, limit, "cold"),
            _said(one.values("warm", "first_batch"), 1, 2),
            _said(one.values("resume", "opened"), 1e3, 0),
            *(
                f"{statistics.median(found) * 1e-6:,.0f}" if (found := one.values("warm", name)) else ""
                for name in ("peak_bytes", "anonymous_bytes")
            ),
        )
    return shown


def lines(measured: dict[str, Measured]) -> list[str]:
    """What is not in the table: very many documents, and failures."""
    said = []
    for name, one in measured.items():
        for documents in _MANY:
            for kind, what in (("documents", "first batch"), ("resume", "resume in the epoch")):
                if opened := one.values(f"{kind}-{documents}", "opened"):
                    whole = _said(one.values(f"{kind}-{documents}", "first_batch"), 1, 2)
                    said.append(
                        f"{name}: {documents:,} documents, {what}: {_said(opened, 1e3, 0)} ms after the imports, "
                        f"{whole} s with them"
                    )
        said += [f"{name}: {failure}" for failure in one.failures]
    return said


def chosen(given: list[str], data: Data, console: Console) -> list[str]:
    """All loaders, or those named; those without their environment are left out, and told."""
    names = [name for name in READERS if not given or name in given]
    for name in names.copy():
        reader = READERS[name]
        if not reader.python(data).exists():
            how = f"benchmarks/peers.sh --work {data.workspace.directory} {reader.environment}"
            console.print(f"{name}: not installed; {how}", highlight=False, soft_wrap=True)
            names.remove(name)
    return names


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(READERS)}; default all")
    parser.add_argument("--mb", type=int, default=2000, help="millions of bytes of text (default 2000)")
    parser.add_argument("--runs", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--context-length", type=int, default=2048, help="tokens of a sample (default 2048)")
    parser.add_argument("--batch-size", type=int, default=64, help="samples of a batch (default 64)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a warm run (default 5)")
    parser.add_argument("--cores", type=int, default=1, help="that a loader may use (default 1)")
    parser.add_argument("--cold-batches", type=int, default=200, help="of a cold run (default 200)")
    parser.add_argument("--json", type=Path, help="write all measurements there")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "shardfleet-benchmarks",
        help="directory for corpora, exports and environments, which are kept (default %(default)s)",
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(READERS)):
        parser.error(f"{', '.join(unknown)}: not among {', '.join(READERS)}")
    return options


def main() -> None:
    options = _options()
    console = Console()
    console.width = max(console.width, 190)
    data = Data(Workspace(options.work.absolute(), None), options.mb, options.context_length)
    data.workspace.hub_root.mkdir(parents=True, exist_ok=True)
    names = chosen(options.names, data, console)
    cores = frozenset(sorted(os.sched_getaffinity(0))[: options.cores])
    try:
        with console.status("making shards"):
            tokens = sum(path.stat().st_size for path in data.shards().glob("*.bin")) // 2
        half = tokens // options.context_length // options.batch_size // 2
        setting = Setting(data, options.batch_size, cores, options.seconds, options.cold_batches, half)
        measured = {name: Measured() for name in names}
        for name in names:
            with console.status(f"preparing {name}"):
                prepare(READERS[name], measured[name], setting)
        before = os.getloadavg()
        for number in range(options.runs):
            # Another goes first in every round.
            for name in names[number % len(names) :] + names[: number % len(names)]:
                with console.status(f"round {number + 1} of {options.runs}: {name}"):
                    measure_round(READERS[name], measured[name], setting)
                    if READERS[name].own and not READERS[name].options:
                        open_many(READERS[name], measured[name], setting)
    except BenchmarkError as error:
        sys.exit(f"benchmarks: {error}")
    console.print(table(measured))
    for line in lines(measured):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    load = os.getloadavg()
    console.print(f"load of the machine: {before[0]:.1f} before, {load[0]:.1f} after", highlight=False)
    if options.json is not None:
        facts = {
            "tokens": tokens,
            "load": [before, load],
            "options": {key: str(value) for key, value in vars(options).items()},
            "loaders": {
                name: asdict(one) | {"what": READERS[name].what, "versions": READERS[name].versions}
                for name, one in measured.items()
            },
        }
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
