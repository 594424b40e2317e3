"""The model against small real runs on this machine: costs are measured on one corpus, times predicted for others."""

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.datasets import Dataset
from benchmarks.measure import (
    HUB_PROGRAM,
    BenchmarkError,
    Command,
    Usage,
    hub_elsewhere,
    measure,
    pinned,
    run_quietly,
)
from benchmarks.prediction import Costs, Host, predict
from benchmarks.workspace import Corpus, Workspace

TOLERANCE = 0.15
_MEASURED_ON = (240, 8)
"""Megabytes of text and files of the corpus on which costs are measured."""
_OVER_A_LINK = (120, 4)
_LOCAL = (640, 16)
_DISK = 1e9
"""Bytes per second: what these runs write stays in the page cache until it is flushed."""


@dataclass(frozen=True)
class Job:
    """What is run: a host of so many ranks over a corpus."""

    size: tuple[int, int]
    """Megabytes of text and files; (0, n) for files of one short document each."""
    ranks: int = 1
    cores: int = 1
    link_bits: float | None = None
    """None: from local files; infinite: from a Hub over a link that nothing slows down."""


CASES = {
    "1 rank, 1 core": Job(_LOCAL),
    "1 rank, 2 cores": Job(_LOCAL, cores=2),
    "2 ranks, 2 cores": Job(_LOCAL, ranks=2, cores=2),
    "1 rank, 100 Mbit/s": Job(_OVER_A_LINK, link_bits=100e6),
    "1 rank, 200 Mbit/s": Job(_OVER_A_LINK, link_bits=200e6),
}
"""Predicted and measured."""

_MEASURED = {
    "start": Job((0, 1)),
    "alone": Job(_MEASURED_ON),
    "two start": Job((0, 2), ranks=2, cores=2),
    "two": Job(_MEASURED_ON, ranks=2, cores=2),
    "fetched start": Job((0, 1), link_bits=math.inf),
    "fetched": Job(_MEASURED_ON, link_bits=math.inf),
}
"""What costs are taken from."""


@dataclass(frozen=True)
class Compared:
    """One case."""

    name: str
    predicted: float
    measured: list[float]
    bottleneck: str

    @property
    def error(self) -> float:
        """Of the prediction, as a share of the median."""
        return self.predicted / statistics.median(self.measured) - 1


def check(console: Console, *, as_json: bool, rounds: int, work: Path | None = None) -> int:
    """Measure costs, predict, run, compare. Returns 1 when a prediction is off by more than the tolerance."""
    workspace = Workspace((work or Path(tempfile.gettempdir()) / "shardfleet-model").absolute(), None)
    workspace.hub_root.mkdir(parents=True, exist_ok=True)
    cores = tuple(sorted(os.sched_getaffinity(0)))
    jobs = {name: job for name, job in (_MEASURED | CASES).items() if job.cores <= len(cores)}
    try:
        usages, stages = _measure(jobs, workspace, cores, rounds, console)
    except BenchmarkError as error:
        console.print(f"benchmarks: {error}", highlight=False)
        return 2
    finally:
        shutil.rmtree(workspace.directory / "jobs", ignore_errors=True)
    costs = costs_from(usages, stages, workspace.corpus(*_MEASURED_ON))
    compared = []
    for name in (name for name in CASES if name in usages):
        job = CASES[name]
        host = Host(job.cores, job.ranks, job.link_bits or 0.0, _DISK)
        told = predict(dataset_of(workspace.corpus(*job.size)), host, 1, costs, remote=job.link_bits is not None)
        compared.append(Compared(name, told.total_seconds, [usage.seconds for usage in usages[name]], told.bottleneck))
    if as_json:
        facts = [asdict(one) | {"error": one.error} for one in compared]
        print(json.dumps({"costs": asdict(costs), "cases": facts, "load": os.getloadavg()}, indent=1))
    else:
        console.print(_table(compared))
        console.print(
            f"costs, ns per byte of text: decode {costs.decode * 1e9:.2f}, encode {costs.encode * 1e9:.2f}, rest "
            f"{costs.rest * 1e9:.2f}; fetch {costs.fetch * 1e9:.2f} per byte fetched; a second core adds "
            f"{costs.further_core:.2f}; start {costs.start_seconds:.2f} s; load of the machine: "
            f"{os.getloadavg()[0]:.1f}",
            highlight=False,
        )
    return int(any(abs(one.error) > TOLERANCE for one in compared))


def _measure(
    jobs: Mapping[str, Job], workspace: Workspace, cores: tuple[int, ...], rounds: int, console: Console
) -> tuple[dict[str, list[Usage]], list[dict[str, float]]]:
    """Every job once a round, in turns: what disturbs the machine disturbs costs and cases alike."""
    usages: dict[str, list[Usage]] = {name: [] for name in jobs}
    stages = []
    with ExitStack() as stack:
        links = sorted({job.link_bits for job in jobs.values() if job.link_bits is not None})
        hubs = {bits: stack.enter_context(_hub(workspace.hub_root, bits, number)) for number, bits in enumerate(links)}
        for number in range(-1, rounds):  # once for nothing: servers hash what they serve, the kernel reads it
            for name, job in jobs.items():
                with console.status(f"round {number + 1} of {rounds}: {name}"):
                    corpus = workspace.corpus(*job.size) if job.size[0] else workspace.nothing(job.size[1])
                    endpoint = hubs[job.link_bits] if job.link_bits is not None else None
                    usage = _run(workspace, corpus, job.ranks, frozenset(cores[: job.cores]), endpoint)
                if number >= 0:
                    usages[name].append(usage)
            made = workspace.job(workspace.corpus(*_MEASURED_ON), ranks=1, tokenizer="r50k_base")
            with pinned(frozenset(cores[:1])):
                stages.append(json.loads(run_quietly("-m", "benchmarks.stages", str(made))))
    return usages, stages


def costs_from(usages: Mapping[str, list[Usage]], stages: list[dict[str, float]], corpus: Corpus) -> Costs:
    """The model's costs, by medians."""

    def wall(name: str) -> float:
        return statistics.median(usage.seconds for usage in usages[name])

    def processor(name: str) -> float:
        return statistics.median(usage.cpu_seconds for usage in usages[name])

    whole = (wall("alone") - wall("start")) / corpus.text_bytes
    decode, encode = (statistics.median(one[stage] for one in stages) for stage in ("decode", "encode"))
    further = Costs.further_core
    if "two" in usages:
        further = (wall("alone") - wall("start")) / (wall("two") - wall("two start")) - 1
    more = processor("fetched") - processor("fetched start") - processor("alone") + processor("start")
    return Costs(
        decode=decode,
        encode=encode,
        rest=max(0.0, whole - decode - encode),
        fetch=max(0.0, more / column_bytes(corpus)),
        further_core=max(0.0, further),
        start_seconds=wall("start"),
    )


def column_bytes(corpus: Corpus) -> int:
    """Compressed bytes of the text column."""
    total = 0
    for path in corpus.files:
        metadata = pq.read_metadata(path)
        column = metadata.schema.names.index("text")
        total += sum(
            metadata.row_group(group).column(column).total_compressed_size for group in range(metadata.num_row_groups)
        )
    return total


def dataset_of(corpus: Corpus) -> Dataset:
    """A corpus as the model sees it; its tokens only decide how much is written."""
    facts = json.loads((corpus.directory / "corpus.json").read_text())
    return Dataset(
        name=corpus.directory.name,
        tokens=corpus.text_bytes / 4.5,
        documents=facts["documents"],
        text_bytes=corpus.text_bytes,
        column_bytes=column_bytes(corpus),
        parquet_bytes=sum(Path(path).stat().st_size for path in corpus.files),
        files=len(corpus.files),
        sources=("measured",),
    )


def _run(workspace: Workspace, corpus: Corpus, ranks: int, cores: frozenset[int], endpoint: str | None = None) -> Usage:
    job = workspace.job(corpus, ranks=ranks, tokenizer="r50k_base", endpoint=endpoint)
    os.sync()
    return measure((Command(("-m", "shard", "run", "--job", str(job / "job")), cores),), workspace.directory / "log")


@contextmanager
def _hub(directory: Path, link_bits: float, number: int) -> Iterator[str]:
    """A Hub server in a network namespace of its own, over a link of so many bits per second."""
    name = f"sfcheck{os.getpid()}-{number}"
    near, far = f"sfn{os.getpid()}-{number}", f"sff{os.getpid()}-{number}"
    address = f"10.{231 + number}.{os.getpid() % 250}"
    _root("ip", "netns", "add", name)
    try:
        _root("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        _root("ip", "addr", "add", f"{address}.1/24", "dev", near)
        _root("ip", "link", "set", near, "up")
        _root("ip", "-n", name, "addr", "add", f"{address}.2/24", "dev", far)
        _root("ip", "-n", name, "link", "set", far, "up")
        _root("ip", "-n", name, "link", "set", "lo", "up")
        if math.isfinite(link_bits):
            shape = ("root", "tbf", "rate", f"{link_bits:.0f}bit", "burst", "128kb", "latency", "50ms")
            _root("tc", "-n", name, "qdisc", "add", "dev", far, *shape)
        argv = ["ip", "netns", "exec", name, sys.executable, "-c", HUB_PROGRAM, str(directory), f"{address}.2"]
        with hub_elsewhere(argv) as endpoint:
            yield endpoint
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", near], capture_output=True, check=False)


def _root(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(argv)}: {done.stderr.strip()}; the check needs root, iproute2 and tbf")


def _table(compared: list[Compared]) -> Table:
    shown = Table(title="Whole runs, start included, s: predicted and measured")
    for column in ("", "predicted", "measured: median (least to most)", "off by", "waits for"):
        shown.add_column(column, justify="left" if column in {"", "waits for"} else "right")
    for one in compared:
        median, least, most = statistics.median(one.measured), min(one.measured), max(one.measured)
        mark = "" if abs(one.error) <= TOLERANCE else " MISSED"
        shown.add_row(
            one.name,
            f"{one.predicted:.2f}",
            f"{median:.2f} ({least:.2f} to {most:.2f})",
            f"{one.error * 100:+.0f} %{mark}",
            one.bottleneck,
        )
    return shown
