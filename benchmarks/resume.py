"""Measures a launch that finds everything done: 10,000 committed units on this machine; see docs/scaling.md.

python benchmarks/resume.py [--units N] [--runs N] [--json FILE]
"""

import argparse
import hashlib
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
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import ROOT, BenchmarkError
from provision.catalog.types import DatasetSpec
from provision.plan.units import units_of
from provision.prepare.prepare import list_dataset
from shard.formats.megatron import index_bytes
from shard.records.frozen import sealed_json
from shard.records.job import FORMAT_VERSION, Holdout, Job
from shard.records.shards import SPLITS, ShardRecord, Split, UnitSource
from shard.records.unit import Unit
from shard.storage.store import open_store
from tests.support.jobs import make_job

UNIT_BYTES = 1 << 20
PARTS = 8
"""Units a file, as FineWeb's 2 GB files have at the default of 256 MiB."""
_ROWS = 10
"""Of a unit, one of them held out: what the shards hold plays no part."""
MOST_SECONDS = 3.0
"""That 10,000 finished units may add to a launch."""

_STEPS = (
    ("start of the launcher, imports", "listing "),
    ("listing, identifying and cutting the source", "asking "),
    ("survey of the host, checks, plan written", "run "),
    ("job sent, supervisor started", '"event":"host_started"'),
    ("every record read, every file looked at", '"event":"units_kept"'),
    ("the supervisor's end", '"event":"host_done"'),
    ("stop, records gathered, coverage proven, manifest", '"event": "run_done"'),
)
"""What a launch does, and what it says then (the last time it says so)."""


@dataclass(frozen=True)
class Measured:
    """One launch."""

    seconds: float
    """Of the whole command."""
    cpu_seconds: float
    """Of all that it started; all of it runs on this machine, the host's part too."""
    steps: dict[str, float]
    """Seconds of each."""


@dataclass(frozen=True)
class Site:
    """A home and working directory in which a launch finds everything done."""

    directory: Path
    units: int

    @property
    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "provision", "launch", "--json"),
            *("--dataset", str(self.directory / "data"), "--unit-size", str(UNIT_BYTES), "--tokenizer", "bytes"),
            *("--output-dir", str(self.directory / "train"), "--holdout-dir", str(self.directory / "holdout")),
        ]

    def launch(self) -> Measured:
        """Run the command. Raises BenchmarkError unless it finds every unit committed and does none."""
        began = time.monotonic()
        with subprocess.Popen(
            self._command,
            cwd=self.directory,
            env={**os.environ, "HOME": str(self.directory), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            said = [(time.monotonic() - began, line) for line in process.stdout]
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
        kept = sum(len(json.loads(line)["units"]) for _, line in said if '"event":"units_kept"' in line)
        if process.returncode != 0 or kept != self.units or any('"event":"unit_done"' in line for _, line in said):
            text = "".join(line for _, line in said if "units_kept" not in line)[-4000:]
            raise BenchmarkError(
                f"the launch found {kept} of {self.units} units done and ended with {process.returncode}:\n{text}"
            )
        return Measured(seconds, usage.ru_utime + usage.ru_stime, _steps(said, seconds))


def _steps(said: list[tuple[float, str]], seconds: float) -> dict[str, float]:
    steps: dict[str, float] = {}
    before = 0.0
    for name, mark in _STEPS:
        at = max(
            (when for when, line in said if mark in line and (mark[0] == '"' or line.startswith(mark))), default=before
        )
        steps[name] = at - before
        before = at
    return {**steps, "exit": seconds - before}


def make_site(directory: Path, units: int) -> Site:
    """Source files, and the shards of all their units as ranks would have left them."""
    _write_sources(directory / "data", units // PARTS)
    (directory / "hosts.txt").write_text("localhost 2\n")
    catalog = list_dataset(DatasetSpec(name=str(directory / "data")))
    cut = units_of(catalog.files, UNIT_BYTES)
    job = make_job(catalog.dataset, directory, units=cut, holdout=Holdout())
    with open_store(job) as directories:
        for unit in cut:
            for split in reversed(SPLITS):  # as ranks do: the train's record is the commit
                _write_shard(job, directories[split], unit, split)
    os.sync()
    return Site(directory, len(cut))


def _write_sources(directory: Path, files: int) -> None:
    """Files of which only the ends are ever read: the first is Parquet, the others are holes with an end."""
    directory.mkdir(parents=True)
    text = "x" * (PARTS * UNIT_BYTES - UNIT_BYTES // 2)
    pq.write_table(pa.table({"text": [text]}), directory / "000000.parquet", compression="none", use_dictionary=False)
    for number in range(1, files):
        with (directory / f"{number:06d}.parquet").open("wb") as file:
            file.seek(PARTS * UNIT_BYTES - 8)
            file.write(number.to_bytes(8, "little"))


def _write_shard(job: Job, directory: Path, unit: Unit, split: Split) -> None:
    """A shard whose record, sizes and rows are right: all that is looked at without verification."""
    documents = 1 if split == "holdout" else _ROWS - 1
    payload = np.full(4 * documents, unit.ordinal % 256, dtype="<u2").tobytes()
    index = index_bytes([np.full(documents, 4, dtype=np.int32)], job.tokenizer.dtype)
    (directory / f"{unit.stem}.bin").write_bytes(payload)
    (directory / f"{unit.stem}.idx").write_bytes(index)
    record = ShardRecord(
        version=FORMAT_VERSION,
        unit=unit.ordinal,
        split=split,
        fingerprint=job.fingerprint,
        source=UnitSource(
            path=unit.path,
            row_start=unit.part * _ROWS,
            row_end=(unit.part + 1) * _ROWS,
            content_id=unit.content_id,
            file_rows=unit.parts * _ROWS,
        ),
        documents=documents,
        tokens=4 * documents,
        payload_bytes=len(payload),
        payload_sha256=hashlib.sha256(payload).hexdigest(),
        index_sha256=hashlib.sha256(index).hexdigest(),
        dropped={"null": 0, "empty": 0, "invalid_utf8": 0},
        host="localhost",
        rank=unit.ordinal % 2,
        seconds=1.5,
    )
    (directory / f"{unit.stem}.json").write_bytes(sealed_json(record))


def report(found: dict[int, list[Measured]], console: Console) -> dict[str, Any]:
    """Print the table and what the many units add to the few."""
    few, many = sorted(found)
    table = Table("", *(f"{units:,} units" for units in (few, many)), title="A launch that finds everything done, s")
    medians = {units: {step: _median(runs, step) for step in runs[0].steps} for units, runs in found.items()}
    for step in medians[few]:
        table.add_row(step, *(f"{medians[units][step]:.2f}" for units in (few, many)))
    table.add_row("", "", "", end_section=True)
    for name, field in (("whole", "seconds"), ("processor time of all", "cpu_seconds")):
        values = {units: [getattr(run, field) for run in runs] for units, runs in found.items()}
        table.add_row(name, *(_spread(values[units]) for units in (few, many)))
    console.print(table)
    added = statistics.median(run.seconds for run in found[many]) - statistics.median(run.seconds for run in found[few])
    per_ten_thousand = added / (many - few) * 10_000
    met = per_ten_thousand <= MOST_SECONDS
    console.print(
        f"{'met' if met else 'MISSED'}: 10,000 units add {per_ten_thousand:.2f} s, to be at most {MOST_SECONDS:g}; "
        f"load of the machine: {os.getloadavg()[0]:.1f}",
        highlight=False,
    )
    runs = {str(units): [asdict(run) for run in runs] for units, runs in found.items()}
    return {"runs": runs, "seconds_per_10000_units": per_ten_thousand, "met": met, "load": os.getloadavg()}


def _median(runs: list[Measured], step: str) -> float:
    return statistics.median(run.steps[step] for run in runs)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=10_000, help=f"a multiple of {PARTS} (default 10000)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write all measurements there")
    parser.add_argument("--keep", type=Path, help="directory that is made, and left for a look")
    options = parser.parse_args()
    if options.units < 2 * PARTS or options.units % PARTS:
        parser.error(f"--units {options.units}: not a multiple of {PARTS} above {PARTS}")
    console = Console()
    directory = options.keep or Path(tempfile.mkdtemp(prefix="shardfleet-resume-"))
    try:
        sites = [make_site(directory.absolute() / str(units), units) for units in (PARTS, options.units)]
        found: dict[int, list[Measured]] = {site.units: [] for site in sites}
        for site in sites:
            site.launch()  # the first writes the plan and the ledger; every later one is what is measured
        for number in range(options.runs):
            for site in sites if number % 2 else reversed(sites):
                found[site.units].append(site.launch())
    except BenchmarkError as error:
        sys.exit(f"benchmarks: {error}")
    finally:
        if options.keep is None:
            shutil.rmtree(directory, ignore_errors=True)
    facts = report(found, console)
    if options.json is not None:
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
