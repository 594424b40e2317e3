"""Measures how soon a host is at work: from a process's start to the first tokens on disk; see docs/scaling.md.

python benchmarks/startup.py [--runs N] [--mb N] [--json FILE]

The first tokens of a rank are there when its first batch of row groups has been decoded, tokenized, checked and
written: what is measured is more than the start-up that has a limit, which ends with the first row group.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import ROOT, BenchmarkError
from benchmarks.workspace import Workspace

MOST_SECONDS = 1.5
_PATIENCE = 60.0
_LOOK_SECONDS = 0.001


@dataclass(frozen=True)
class Measured:
    """One start, in seconds."""

    supervisor: float
    """From the start of the host's supervisor to that of its rank's process."""
    rank: float
    """From the start of the rank's process to its first tokens on disk."""


def measure(job: Path) -> Measured:
    """Start a host of one rank and end it when it is at work. Raises BenchmarkError when it does not come to that."""
    shutil.rmtree(job / "out", ignore_errors=True)
    command = [sys.executable, "-m", "shard", "run", "--job", str(job / "job")]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as supervisor:
        try:
            began = _started(supervisor.pid)
            deadline = time.monotonic() + _PATIENCE
            rank: int | None = None
            while rank is None or not _has_tokens(job / "out" / "train"):
                if time.monotonic() > deadline or supervisor.poll() is not None:
                    raise BenchmarkError(f"{' '.join(command)}: no tokens; see {job / 'job' / 'log'}")
                rank = rank or _rank_of(supervisor.pid)
                time.sleep(_LOOK_SECONDS)
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            rank_began = _started(rank)
        finally:
            supervisor.terminate()
    return Measured(supervisor=rank_began - began, rank=now - rank_began)


def _started(pid: int) -> float:
    """When a process began, in seconds since boot; the kernel counts hundredths."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")


def _rank_of(supervisor: int) -> int | None:
    try:
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        # Between fork and exec it still is what it was started from.
        return next((int(pid) for pid in children if b"\0rank\0" in Path(f"/proc/{pid}/cmdline").read_bytes()), None)
    except FileNotFoundError:
        return None  # one that ended meanwhile


def _has_tokens(directory: Path) -> bool:
    # A unit that is small has its final name by now.
    names = (*directory.glob(".0*.bin.*.tmp"), *directory.glob("0*.bin"))
    try:
        return any(path.stat().st_size > 0 for path in names)
    except FileNotFoundError:
        return False  # renamed between two looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--mb", type=int, default=100, help="millions of bytes of text in the corpus (default 100)")
    parser.add_argument("--json", type=Path, help="write all measurements there")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "shardfleet-startup")
    options = parser.parse_args()
    console = Console()
    workspace = Workspace(options.work.absolute(), None)
    try:
        job = workspace.job(workspace.corpus(options.mb, 1), ranks=1, tokenizer="r50k_base")
        measure(job)  # files into the page cache, modules into bytecode
        found = [measure(job) for _ in range(options.runs)]
    except BenchmarkError as error:
        sys.exit(f"benchmarks: {error}")
    finally:
        shutil.rmtree(workspace.directory / "jobs", ignore_errors=True)
    table = Table("", "s: median (least to most)", "limit", title="From nothing to the first tokens on disk")
    for name, values, limit in (
        ("supervisor's start to its rank's", [one.supervisor for one in found], ""),
        ("rank's start to its first tokens", [one.rank for one in found], f"{MOST_SECONDS:g}"),
    ):
        table.add_row(name, f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})", limit)
    console.print(table)
    met = statistics.median(one.rank for one in found) < MOST_SECONDS
    load = os.getloadavg()
    console.print(f"{'met' if met else 'MISSED'}; load of the machine: {load[0]:.1f}", highlight=False)
    if options.json is not None:
        facts = {"runs": [asdict(one) for one in found], "met": met, "load": load}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
