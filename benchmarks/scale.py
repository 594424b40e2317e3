"""Measures a launcher of 256 simulated hosts and 50,000 source files; see README.md.

python benchmarks/scale.py [--hosts N] [--files N] [--runs N]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from provision.plan.hostjob import job_of
from provision.plan.rundir import RunDirectory
from provision.prepare.script import render_script
from shard.records.frozen import canonical_json
from tests.scale.simulated import Simulation, loopback_hosts, pss, role_of, simulated
from tests.support.plans import MIB, plan_of, source_files

_PATIENCE = 300.0
_SAMPLE_SECONDS = 0.2
_SETTLING_SECONDS = 5.0
"""How long the hosts are left at work before the launcher's processor time is looked at: some turns of each."""
_MOST_CPU = 0.05
"""Of a core, of the launcher with all hosts at work."""


@dataclass(frozen=True)
class Measured:
    """One run. Times in seconds, memory in bytes."""

    start: float
    """From the script's start until every host has spoken."""
    abort: float
    """From Ctrl+C until no process is left."""
    exit_code: int
    memory: Mapping[str, int]
    """By what a process is, at the moment at which all of them took most."""
    largest: Mapping[str, int]
    """The most that each kind took at any time."""
    cpu: Mapping[str, float]
    """Shares of a core while all hosts report, by what a process is."""

    @property
    def own_cpu(self) -> float:
        """Of what is ours: script, watcher, lease. pdsh, which passes lines on, is shown by itself."""
        return sum(share for role, share in self.cpu.items() if role != "pdsh")


def measure(hosts: int, files: int, window: float) -> Measured:
    """One run on a terminal, from start to Ctrl+C; every host says every two seconds how far it is, and does a unit."""
    with tempfile.TemporaryDirectory() as directory, simulated(Path(directory), hosts=hosts, files=files) as simulation:
        samples: list[dict[str, int]] = []
        ended = threading.Event()
        sampler = threading.Thread(target=_sample, args=(simulation, samples, ended))
        sampler.start()
        began = time.monotonic()
        running = simulation.start(terminal=True)
        simulation.wait_until_started(running, _PATIENCE)
        start = time.monotonic() - began
        time.sleep(_SETTLING_SECONDS)
        ended.set()  # looking at memory costs the kernel time that it would count as the launcher's
        sampler.join()
        cpu = cpu_shares(simulation, window)
        began = time.monotonic()
        running.type(b"\x03")
        exit_code = running.wait(_PATIENCE)
        simulation.fleet.wait_until_quiet(_PATIENCE)
        abort = time.monotonic() - began
    largest = {role: max(sample.get(role, 0) for sample in samples) for sample in samples for role in sample}
    return Measured(start, abort, exit_code, max(samples, key=lambda sample: sum(sample.values())), largest, cpu)


def cpu_shares(simulation: Simulation, seconds: float) -> dict[str, float]:
    """What the launcher's processes take of a core in so many seconds, their children that ended meanwhile included."""
    began, before = time.monotonic(), _cpu_seconds(simulation)
    time.sleep(seconds)
    after = _cpu_seconds(simulation)
    took = time.monotonic() - began
    return {role: (after[role] - before.get(role, 0.0)) / took for role in after}


def _cpu_seconds(simulation: Simulation) -> dict[str, float]:
    sums: dict[str, float] = {}
    for process in simulation.launcher():
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        # utime, stime, and those of children that have been waited for.
        sums[role_of(process)] = sums.get(role_of(process), 0.0) + sum(map(int, fields[11:15])) / os.sysconf(
            "SC_CLK_TCK"
        )
    return sums


def plan_once(hosts: int, files: int) -> tuple[float, int]:
    """(seconds, peak bytes of this process) of planning: units, shares, plan.json and back, jobs, script."""
    listing = source_files(*(MIB + 4096 * number for number in range(files)))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        run = RunDirectory(Path(directory))
        run.make()
        run.write_plan(plan_of(loopback_hosts(hosts), files=listing))
        plan = run.read_plan()
        for host in plan.hosts:
            canonical_json(job_of(plan, host))
        render_script(plan, run_dir=run.path, python=sys.executable)
    return time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=256)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--window", type=float, default=20.0, help="seconds of work to count processor time over")
    parser.add_argument("--json", type=Path, help="write all measurements there")
    parser.add_argument("--plan-once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plan_once:
        print(json.dumps(plan_once(options.hosts, options.files)))
        return
    console = Console()
    plans, runs = [], []
    size = ("--hosts", str(options.hosts), "--files", str(options.files))
    for number in range(options.runs):
        with console.status(f"round {number + 1} of {options.runs}"):
            # In a process of its own, whose memory is that of the planning.
            said = subprocess.run([sys.executable, __file__, "--plan-once", *size], capture_output=True, check=True)
            plans.append(json.loads(said.stdout))
            runs.append(measure(options.hosts, options.files, options.window))
    console.print(_table(plans, runs, f"{options.hosts} hosts, {options.files:,} files: median (least to most)"))
    one = runs[-1]
    console.print("most at one time, MB: " + _megabytes(one.memory), "largest of each, MB: " + _megabytes(one.largest))
    console.print("processor time, of a core: " + ", ".join(f"{role} {share:.1%}" for role, share in one.cpu.items()))
    if options.json is not None:
        facts = {"plans": plans, "runs": [asdict(run) | {"own_cpu": run.own_cpu} for run in runs]}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")
    console.print(f"exit codes: {[run.exit_code for run in runs]}; load of the machine: {os.getloadavg()[0]:.1f}")


def _sample(simulation: Simulation, samples: list[dict[str, int]], ended: threading.Event) -> None:
    while not ended.wait(_SAMPLE_SECONDS):
        samples.append(pss(simulation.launcher()))


def _table(plans: list[tuple[float, int]], runs: list[Measured], title: str) -> Table:
    table = Table("", "measured", "limit", title=title)
    for name, values, scale, unit, limit in (
        ("planned, written, read, scripted", [seconds for seconds, _ in plans], 1.0, "s", "5 s"),
        ("memory of that", [peak for _, peak in plans], 1e6, "MB", ""),
        ("start until all hosts have spoken", [run.start for run in runs], 1.0, "s", "20 s"),
        ("Ctrl+C until no process is left", [run.abort for run in runs], 1.0, "s", "15 s"),
        ("launcher's memory (PSS)", [sum(run.memory.values()) for run in runs], 1e6, "MB", "300 MB"),
        ("launcher's processor time, of a core", [run.own_cpu for run in runs], 0.01, "%", f"{_MOST_CPU:.0%}"),
        ("pdsh's, beside that", [run.cpu.get("pdsh", 0.0) for run in runs], 0.01, "%", ""),
    ):
        shown = [f"{value / scale:.1f}" for value in (statistics.median(values), min(values), max(values))]
        table.add_row(name, f"{shown[0]} {unit} ({shown[1]} to {shown[2]})", limit)
    return table


def _megabytes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{role} {size / 1e6:.0f}" for role, size in sorted(sizes.items(), key=lambda item: -item[1]))


if __name__ == "__main__":
    main()
