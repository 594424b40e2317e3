"""Measures contenders side by side and prints one table; see README.md.

python benchmarks/run.py [NAMES…] [--mb N] [--runs N] [--data DIR] [--json FILE]
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import report
from benchmarks.contenders import CONTENDERS, FILES, Contender, Setting, Task
from benchmarks.counts import Count
from benchmarks.measure import BenchmarkError, HungError, Usage, measure, pinned, run_quietly, serving
from benchmarks.measured import Measured
from benchmarks.others import PEERS, TOKENIZER
from benchmarks.tree import Patience
from benchmarks.workspace import Truth, Workspace

_LEAST_MEGABYTES = 100
_SLOW_RATE = 20e6
"""Bytes of text per second; what is slower takes fewer rounds."""
_SLOWEST_RATE = 1e6
"""What is slower than this is taken to hang, and so is what uses no processor for so long:"""
_IDLE_SECONDS = 30.0
_STARTUP_PATIENCE = Patience(120.0, _IDLE_SECONDS)
COLD = "cold"
"""The name that stands for encoding alone."""


def prepare(names: list[str], setting: Setting, truth: Truth | None, console: Console) -> dict[str, Measured]:
    """Corpora, jobs and inputs of all contenders."""
    measured: dict[str, Measured] = {}
    for name in names:
        contender = CONTENDERS.get(name) or PEERS[name].contender
        try:
            with console.status(f"preparing {name}"):
                corpus = contender.corpus(setting)
                full = contender.task(setting, corpus)
                empty = contender.task(setting, setting.workspace.nothing(contender.startup_files))
        except BenchmarkError as error:
            if contender.kind != "peer":
                raise
            console.print(f"{name}: left out: {error}", highlight=False, soft_wrap=True, markup=False)
            continue
        known = truth is not None and contender.megabytes is None and full.format is not None
        count = Count(truth.documents, truth.tokens, truth.id_sum) if truth is not None and known else None
        measured[name] = one = Measured(contender, corpus.text_bytes, full, empty, count)
        # Its files are read, its modules compiled. Should it fail, it will again where that is told.
        with console.status(f"a first run of {name}, not measured"), suppress(BenchmarkError):
            _run_once(one.empty, setting.workspace.directory / "log", _STARTUP_PATIENCE)
    return measured


def run(measured: dict[str, Measured], setting: Setting, rounds: int, slow_rounds: int, console: Console) -> None:
    """Measure in turns: what disturbs the machine disturbs all alike."""
    names = list(measured)
    for number in range(rounds):
        # Another goes first in every round.
        for name in names[number % len(names) :] + names[: number % len(names)]:
            one = measured[name]
            slow = one.contender.kind == "peer" and any(rate < _SLOW_RATE for rate in one.whole_rates.values())
            if number >= (slow_rounds if slow else one.contender.rounds or rounds):
                continue
            with console.status(f"round {number + 1} of {rounds}: {name}"):
                _measure_round(one, number, setting.workspace)


def _measure_round(one: Measured, number: int, workspace: Workspace) -> None:
    """A run over nothing, a run over the corpus, and a count. A failure of a contender of others is noted."""
    peer = one.contender.kind == "peer"
    patience = Patience(60 + one.text_bytes / _SLOWEST_RATE, _IDLE_SECONDS)
    log = workspace.directory / (f"log-{one.contender.name}" if peer else "log")
    for task, usages, where, limit in (
        (one.empty, one.startups, " over one document", _STARTUP_PATIENCE),
        (one.full, one.runs, "", patience),
    ):
        try:
            usages[number] = _run_once(task, log, limit if peer else None)
        except BenchmarkError as error:
            if not peer:
                raise
            what = f"hung ({error})" if isinstance(error, HungError) else f"failed, see {log}"
            one.failures.append(f"{what}{where} in round {number + 1}")
    if number in one.runs and one.full.format is not None and one.full.output is not None:
        counted = json.loads(run_quietly("-m", "benchmarks.counts", one.full.format, str(one.full.output)))
        one.output_bytes = counted.pop("bytes")
        one.counts[number] = Count(**counted)
    _empty(one.full)


def _run_once(task: Task, log: Path, patience: Patience | None) -> Usage:
    _empty(task)
    # What an earlier run has left to write is not this one's to wait for.
    os.sync()
    return measure(task.commands, log, patience)


def _empty(task: Task) -> None:
    for directory in (task.output, task.home):
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)


def _truth(workspace: Workspace, megabytes: int, console: Console) -> Truth | None:
    """What is in the corpus, told; None where its tokens cannot be counted."""
    with console.status("making and counting the corpus"):
        corpus = workspace.corpus(megabytes, FILES)
        try:
            truth = workspace.truth(corpus)
        except BenchmarkError as error:
            console.print(f"tokens are not checked: {error}", highlight=False, soft_wrap=True, markup=False)
            return None
    console.print(report.facts(truth, corpus.text_bytes), highlight=False, soft_wrap=True)
    return truth


def cold(setting: Setting, rounds: int) -> list[dict[str, Any]]:
    """Encoding alone in fresh processes, on the first core."""
    workspace = setting.workspace
    job = workspace.job(workspace.nothing(1), ranks=1, tokenizer=setting.tokenizer, name=COLD) / "job"
    data = () if workspace.data is None else ("--data", str(workspace.data))
    with pinned(frozenset(setting.cores[:1])):
        return [json.loads(run_quietly("-m", "benchmarks.cold", str(job), *data)) for _ in range(rounds)]


def chosen(given: list[str], workspace: Workspace, tokenizer: str, cores: int, console: Console) -> list[str]:
    """The contenders to run: ours by default, `peers` for all of others, without those that cannot run here."""
    wanted = set(given) or {*CONTENDERS, COLD}
    if "peers" in wanted:
        wanted |= set(PEERS)
    if wanted & set(PEERS):
        wanted.add("rank2")  # what they are compared with
    names = [name for name in (*CONTENDERS, *PEERS, COLD) if name in wanted]
    for name in names.copy():
        contender: Contender | None = CONTENDERS.get(name) or (PEERS[name].contender if name in PEERS else None)
        why = None
        if contender is not None and contender.cores > cores:
            why = f"needs {contender.cores} cores; this machine offers {cores}"
        elif name in PEERS and tokenizer != TOKENIZER:
            why = f"runs with --tokenizer {TOKENIZER} only"
        elif name in PEERS and not (workspace.environment(name) / "installed").exists():
            why = f"not installed; benchmarks/peers.sh --work {workspace.directory} {name}"
        if why is not None:
            console.print(f"{name}: {why}", highlight=False, soft_wrap=True)
            names.remove(name)
    return names


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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [*CONTENDERS, COLD, "peers", *PEERS]
    ours = "default all up to `cold`; `peers` stands for those after it"
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; {ours}")
    parser.add_argument("--mb", type=int, default=800, help="millions of bytes of text (default 800)")
    parser.add_argument("--runs", type=int, default=5, help="rounds (default 5)")
    parser.add_argument(
        "--slow-runs", type=int, default=2, help="rounds of a peer slower than 20 MB/s, if fewer (default 2)"
    )
    parser.add_argument("--data", type=Path, help="directory of Parquet files with real documents in a column 'text'")
    parser.add_argument("--tokenizer", default=TOKENIZER, help="a tiktoken name, or bytes (default r50k_base)")
    parser.add_argument("--json", type=Path, help="write all measurements there")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "shardfleet-benchmarks",
        help="directory for corpora and peers, which are kept, and shards (default %(default)s)",
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"{', '.join(unknown)}: not among {', '.join(known)}")
    if options.mb < _LEAST_MEGABYTES:
        parser.error(f"--mb {options.mb}: below {_LEAST_MEGABYTES} the start-up is most of what is measured")
    return options


def main() -> None:
    options = _options()
    console = Console()
    # Tables are as wide as they are, in a file too.
    console.width = max(console.width, 132)
    cores = tuple(sorted(os.sched_getaffinity(0)))
    workspace = Workspace(options.work.absolute(), options.data.absolute() if options.data else None)
    workspace.hub_root.mkdir(parents=True, exist_ok=True)
    names = chosen(options.names, workspace, options.tokenizer, len(cores), console)
    truth, encoding, measured = None, [], {}
    try:
        with ExitStack() as stack:
            if options.tokenizer == TOKENIZER:
                truth = _truth(workspace, options.mb, console)
            endpoint = None
            if any(name in CONTENDERS and CONTENDERS[name].hub for name in names):
                endpoint = stack.enter_context(serving(workspace.hub_root, frozenset({cores[1]})))
            setting = Setting(workspace, cores, options.mb, options.tokenizer, endpoint)
            if COLD in names:
                with console.status("encoding alone"):
                    encoding = cold(setting, options.runs)
                console.print(report.cold_said(encoding), highlight=False, soft_wrap=True)
            measured = prepare([name for name in names if name != COLD], setting, truth, console)
            run(measured, setting, options.runs, options.slow_runs, console)
    except BenchmarkError as error:
        sys.exit(f"benchmarks: {error}")
    finally:
        shutil.rmtree(workspace.directory / "jobs", ignore_errors=True)
    found = report.verdicts(measured)
    if measured:
        console.print(report.speed_table(measured))
    for line in report.output_lines(measured):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    for verdict in found:
        console.print(report.verdict_said(verdict, measured), highlight=False, soft_wrap=True)
    if options.json is not None:
        written = {
            "machine": _machine(cores),
            "mb": options.mb,
            "corpus": None if truth is None else asdict(truth),
            "cold": encoding,
            "contenders": {name: one.as_dict() for name, one in measured.items()},
            "peers": {name: PEERS[name].as_dict() for name in measured if name in PEERS},
            "targets": found,
        }
        options.json.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
