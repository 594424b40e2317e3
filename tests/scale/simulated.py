"""A large cluster on this machine: every host is an address of 127.0.0.0/8 with a thin worker, all else is real.

Plan, script, push, pdsh, watcher, stopping and settling are those of any run; only `python -m shard` is
`fake_worker`, which takes a hundredth of its memory.
"""

import re
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from provision.hosts import Host
from provision.plan.plan import Plan
from provision.plan.rundir import RunDirectory
from provision.prepare.script import render_script
from provision.reach.ssh.config import write_ssh_config
from tests.support.fleet import Fleet, Running, Seen, fleet_over
from tests.support.hub import RunningHub
from tests.support.plans import MIB, plan_of, source_files

FAKE_WORKER = Path(__file__).with_name("fake_worker")
_NOWHERE = RunningHub("http://127.0.0.1:9")
"""No worker asks it for anything."""
_STARTED = re.compile(rb'"event":"host_started","host":"([0-9.]+)"')
_CLOCK = re.compile(rb"(\d+:\d\d:\d\d) gone")


@dataclass
class Simulation:
    """A run that is planned and scripted, and not started yet."""

    fleet: Fleet
    plan: Plan
    run: RunDirectory
    _spoken: set[bytes] = field(default_factory=set)
    _read: int = 0

    def start(self, *arguments: str, terminal: bool = False) -> Running:
        """`run_all_hosts.sh`, not waited for."""
        return self.fleet.begin([str(self.run.script), *arguments], terminal=terminal)

    def wait_until_started(self, running: Running, timeout: float) -> None:
        """Wait until every host has said that it has started, and the launcher has kept it."""
        self.wait_until(
            lambda: self.started_hosts() == len(self.plan.hosts) or running.process.poll() is not None,
            timeout,
            "not all hosts have spoken",
        )
        assert running.process.poll() is None, running.text

    def wait_until(self, probe: Callable[[], bool], timeout: float, otherwise: str) -> None:
        """Ask until it is so; fails when it is not in time."""
        deadline = time.monotonic() + timeout
        while not probe():
            if time.monotonic() > deadline:
                pytest.fail(f"{otherwise} after {timeout:g} s; {self.started_hosts()} hosts have spoken")
            time.sleep(0.05)

    def started_hosts(self) -> int:
        """How many hosts have spoken so far."""
        if self.run.events.exists():
            with self.run.events.open("rb") as events:
                events.seek(self._read)
                new = events.read().rpartition(b"\n")[0]
            self._read += len(new)
            self._spoken.update(_STARTED.findall(new))
        return len(self._spoken)

    def workers(self) -> list[Seen]:
        """The hosts' workers."""
        # A shell that has not become one yet carries the cookie, too.
        return [p for p in self.fleet.processes_with_cookie() if str(FAKE_WORKER) in p.argv]

    def launcher(self) -> list[Seen]:
        """What runs on the launcher for the run: script, steps of the script, pdsh; not what is asked of hosts."""
        workers = {process.pid for process in self.fleet.processes_with_cookie()}
        others = [process for process in self.fleet.processes() if process.pid not in workers]
        # pdsh's own arguments name the worker, too.
        return [p for p in others if p.name == "pdsh" or FAKE_WORKER.name not in " ".join(p.argv)]


@contextmanager
def simulated(
    directory: Path,
    *,
    hosts: int,
    files: int,
    turn_seconds: float = 2.0,
    units_per_turn: int = 1,
    **fields: Any,
) -> Iterator[Simulation]:
    """A run of so many source files of 8 MiB over so many hosts of one rank each; `fields` are those of make_plan.

    Every host does so many units a turn. At the end everything that was started is killed.
    """
    taking_part = loopback_hosts(hosts)
    with fleet_over(directory, _NOWHERE, {host.name: 1 for host in taking_part}, {}, None) as fleet:
        fleet.environment |= {
            "FAKE_TURN_SECONDS": str(turn_seconds),
            "FAKE_UNITS_PER_TURN": str(units_per_turn),
            "LINES": "60",
        }
        plan = plan_of(taking_part, files=source_files(*[8 * MIB] * files), local_python=str(FAKE_WORKER), **fields)
        run = RunDirectory(fleet.directory / "runs" / plan.run_id)
        run.make()
        run.write_plan(plan)
        write_ssh_config(run.ssh_config, taking_part, user_config=None)
        run.script.write_text(render_script(plan, run_dir=run.path, python=sys.executable))
        run.script.chmod(0o755)
        yield Simulation(fleet, plan, run)


def loopback_hosts(count: int) -> tuple[Host, ...]:
    """So many hosts, each an address of this machine."""
    return tuple(Host(name=f"127.0.{1 + number // 250}.{1 + number % 250}", ranks=1) for number in range(count))


def frames(output: Path) -> list[str]:
    """The times, as shown, of the pictures that a dashboard has drawn."""
    return list(dict.fromkeys(clock.decode() for clock in _CLOCK.findall(output.read_bytes())))


def pss(processes: Collection[Seen]) -> dict[str, int]:
    """Bytes of memory by what a process is, pages that several share divided among them."""
    sums: dict[str, int] = {}
    for process in processes:
        try:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except OSError:
            continue  # ended meanwhile
        name = role_of(process)
        sums[name] = sums.get(name, 0) + 1024 * sum(int(kib) for kib in re.findall(r"^Pss:\s+(\d+)", rollup, re.M))
    return sums


def role_of(process: Seen) -> str:
    """What a process of the launcher is: a step of the script, the script, pdsh."""
    if "provision.control" in process.argv:
        return process.argv[process.argv.index("provision.control") + 1]
    return "script" if process.name == "bash" else process.name
