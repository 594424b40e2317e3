"""A small cluster for end-to-end tests: hosts, a Hub, a working directory and an environment of its own.

Nothing of it touches the user's home, and its run ids are its own: two fleets may run on one machine at once.
Processes are found by reading /proc here, independently of the code under test.
"""

import hashlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub import RunningHub, running_hub
from tests.support.sshd import LoopbackHosts, loopback_hosts

DATASET = "team/text"
SHARDFLEET = str(Path(sys.executable).parent / "shardfleet")
_MARK = "SHARDFLEET_TEST_FLEET"

Event = dict[str, Any]
Shards = dict[tuple[str, str], tuple[str, str]]
"""(split, stem) → sha256 of payload and of index."""


@dataclass(frozen=True)
class Seen:
    """A process as /proc shows it."""

    pid: int
    argv: tuple[str, ...]
    parent: int
    group: int

    @property
    def name(self) -> str:
        return Path(self.argv[0]).name if self.argv else ""

    def __str__(self) -> str:
        return f"{self.pid} {' '.join(self.argv)[:160]}"


class Terminal:
    """The far end of a launcher's terminal; what is shown there is copied to a file."""

    def __init__(self, descriptor: int, output: Path) -> None:
        self.descriptor = descriptor
        self._hung_up = threading.Event()
        self._reader = threading.Thread(target=self._copy, args=(output,), daemon=True)
        self._reader.start()

    def hang_up(self) -> None:
        """Close it, as when its window is closed or the connection lost."""
        self._hung_up.set()
        self._reader.join()

    def _copy(self, output: Path) -> None:
        with output.open("wb", buffering=0) as file, suppress(OSError):  # an error when nobody writes there any more
            while not self._hung_up.is_set():
                if select.select([self.descriptor], [], [], 0.05)[0]:
                    file.write(os.read(self.descriptor, 1 << 16))
        os.close(self.descriptor)


@dataclass
class Running:
    """A launcher under way, in a session of its own, its output in a file."""

    process: "subprocess.Popen[bytes]"
    output: Path
    _events: "_Events"
    terminal: "Terminal | None" = None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        """All it has printed."""
        return self.output.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """A signal to the launcher alone."""
        self.process.send_signal(number)

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """A signal to the whole process group, as a terminal sends it."""
        os.killpg(self.process.pid, number)

    def type(self, keys: bytes) -> None:
        """Press keys at its terminal."""
        assert self.terminal is not None
        os.write(self.terminal.descriptor, keys)

    def events(self) -> list[Event]:
        """What the hosts have said since it was started."""
        return self._events.read()

    def wait_for(self, wanted: Callable[[list[Event]], bool], timeout: float = 60.0) -> list[Event]:
        """Wait until the events since the start are what is wanted; fails when it ends before, or time is up."""
        deadline = time.monotonic() + timeout
        while True:
            ended = self.process.poll() is not None
            events = self.events()
            if wanted(events):
                return events
            if ended or time.monotonic() > deadline:
                why = f"it ended with {self.process.returncode}" if ended else f"{timeout:g} s are over"
                pytest.fail(f"not seen, and {why}:\n{_short(events)}\n{self.text}")
            time.sleep(0.02)

    def wait(self, timeout: float = 60.0) -> int:
        """Its exit code; fails when it does not end in time."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {timeout:g} s:\n{_short(self.events())}\n{self.text}")


@dataclass
class Fleet:
    """See the module."""

    directory: Path
    """The working directory: hosts.txt, runs/."""
    homes: Mapping[str, Path]
    """By host name; on this machine, the launcher's own."""
    environment: dict[str, str]
    hub: RunningHub
    loopback: LoopbackHosts | None
    options: tuple[str, ...]
    """What every plan, script and launch is given."""
    base: str
    """Directory under each home that holds `shards` and `holdout`."""
    mark: str
    started: list[Running] = field(default_factory=list)

    def argv(self, command: str, *args: str) -> list[str]:
        """`shardfleet plan`, `script` or `launch` with the options of this fleet; later ones win."""
        own = list(self.options)
        if "--dataset" in args:  # a second one would not win, but come beside the first
            del own[own.index("--dataset") : own.index("--dataset") + 2]
        return [SHARDFLEET, command, *own, *args]

    def launch(self, *args: str, timeout: float = 120.0) -> "subprocess.CompletedProcess[str]":
        """A whole run, from start to end."""
        return self.run(*self.argv("launch", *args), timeout=timeout)

    def call(self, *args: str, timeout: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """`shardfleet ARGS`, as given."""
        return self.run(SHARDFLEET, *args, timeout=timeout)

    def run(self, *argv: str, timeout: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """Any command in this fleet's directory and environment, to its end."""
        return subprocess.run(
            argv,
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )

    def start(self, *args: str, terminal: bool = False) -> Running:
        """`shardfleet launch`, not waited for."""
        return self.begin(self.argv("launch", *args), terminal=terminal)

    def start_script(self, *args: str, terminal: bool = False) -> Running:
        """`./run_all_hosts.sh` alone, planned and written before."""
        written = self.run(*self.argv("script", *args))
        assert written.returncode == 0, written.stderr
        return self.begin(["./run_all_hosts.sh"], terminal=terminal)

    def begin(self, argv: list[str], *, terminal: bool = False) -> Running:
        """Any launcher, not waited for, in a session of its own; with a `terminal`, in the foreground of that."""
        output = self.directory / f"output-{len(self.started)}.txt"
        events = _Events(self.directory / "runs")
        far, near = os.openpty() if terminal else (-1, os.open(os.devnull, os.O_RDONLY))
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["setsid", "--ctty", *argv] if terminal else argv,
                cwd=self.directory,
                env=self.environment,
                stdin=near,
                stdout=near if terminal else file,
                stderr=near if terminal else file,
                start_new_session=not terminal,
            )
        os.close(near)
        running = Running(process, output, events, Terminal(far, output) if terminal else None)
        self.started.append(running)
        return running

    @property
    def run_id(self) -> str:
        """Of the one run in `runs/`."""
        (run,) = (self.directory / "runs").iterdir()
        return run.name

    def processes(self) -> list[Seen]:
        """Every living process that the fleet's launchers have started on this machine or, by cookie, on a host."""
        cookies = {f"{_MARK}={self.mark}".encode()}
        with suppress(OSError):
            cookies |= {f"SHARDFLEET_JOB={run.name}".encode() for run in (self.directory / "runs").iterdir()}
        return list(_bearers(cookies))

    def processes_with_cookie(self) -> list[Seen]:
        """The workers: every living process with SHARDFLEET_JOB=<run id> in its environment."""
        return list(_bearers({f"SHARDFLEET_JOB={self.run_id}".encode()}))

    def ranks(self) -> list[Seen]:
        return [process for process in self.processes_with_cookie() if " shard rank " in f" {' '.join(process.argv)} "]

    def supervisors(self, host: str | None = None) -> list[Seen]:
        wanted = f"/{host}" if host is not None else ""
        return [
            process
            for process in self.processes_with_cookie()
            if " -m shard run --job " in f" {' '.join(process.argv)} "
            and process.name.startswith("python")
            and process.argv[-1].endswith(wanted)
        ]

    def named(self, name: str) -> list[Seen]:
        """Processes of this fleet's launchers by program name, such as pdsh or ssh."""
        return [process for process in self.processes() if process.name == name]

    def wait_until_quiet(self, timeout: float = 15.0) -> float:
        """Seconds until no process of this fleet was left; fails when there still are after `timeout`."""
        started = time.monotonic()
        while left := self.processes():
            if time.monotonic() - started > timeout:
                pytest.fail("left after {:g} s:\n{}".format(timeout, "\n".join(map(str, left))))
            time.sleep(0.02)
        return time.monotonic() - started

    def directories(self) -> Iterator[tuple[str, Path]]:
        """(split, directory) on every host, those that exist."""
        for home in dict.fromkeys(self.homes.values()):
            for split, name in (("train", "shards"), ("holdout", "holdout")):
                if (directory := home / self.base / name).is_dir():
                    yield split, directory

    def shards(self) -> Shards:
        """Every committed shard over all hosts; a shard that two hosts hold fails the test."""
        found: Shards = {}
        for split, directory in self.directories():
            for record in directory.glob("[0-9]*.json"):
                key = (split, record.stem)
                assert key not in found, f"{key} is on two hosts"
                found[key] = (_sha256(record.with_suffix(".bin")), _sha256(record.with_suffix(".idx")))
        return found

    def unfinished(self) -> list[Path]:
        """Temporary files and scratch in the output directories: none may stay."""
        return [
            path
            for _, directory in self.directories()
            for path in directory.iterdir()
            if path.name.endswith(".tmp") or path.name.startswith(".scratch")
        ]

    def verify_committed(self) -> int:
        """Have every host's directories verified as they are; returns how many units are committed."""
        for home in dict.fromkeys(self.homes.values()):
            directories = [str(home / self.base / name) for name in ("shards", "holdout")]
            if all((Path(directory) / "dataset.json").exists() for directory in directories):
                done = self.call("verify", *directories)
                assert done.returncode == 0, done.stdout + done.stderr
        return len({stem for split, stem in self.shards() if split == "train"})

    def slow(self, seconds: float) -> None:
        """From now on every answer of the Hub's content server takes so long."""
        self.hub.arm({"kind": "stall", "where": "cdn", "seconds": seconds, "times": None})

    def hold_after(self, units: int) -> None:
        """The Hub lets so many units through, or up to three more, and then answers nothing more: work stays under way.

        The first file, which planning reads, is not held. All of them may go to one host: with as many as its share,
        that host is done and no longer under way.
        """
        self.hold_after_answers(2 * units, 0.05)  # a unit takes two: footer and text

    def hold_after_answers(self, answers: int, seconds: float) -> None:
        """So many more answers, each of which takes so long, and then none; what was armed before is forgotten."""
        others = {"where": "cdn", "path": "*/part-[!0]*"}
        self.hub.clear()
        self.hub.arm(
            {"kind": "stall", "seconds": seconds, "times": answers, **others},
            {"kind": "stall", "seconds": 3600.0, "times": None, **others},
        )

    def fast(self) -> None:
        """The Hub answers at once again."""
        self.hub.clear()


@contextmanager
def running_fleet(
    directory: Path, hub_directory: Path, hosts: Mapping[str, int], *options: str, pdsh: bool = True
) -> Iterator[Fleet]:
    """A fleet of the given hosts (name → ranks) over `hub_directory`/team/text.

    `localhost` is this machine, every other name an OpenSSH server of its own on loopback. Skips the test where pdsh or
    sshd are missing; without `pdsh` there is none on PATH. At the end everything the fleet started is killed.
    """
    if pdsh and shutil.which("pdsh") is None:
        pytest.skip("needs pdsh: apt install pdsh")
    home = directory / "home"
    remote = [name for name in hosts if name != "localhost"]
    with ExitStack() as stack:
        hub = stack.enter_context(running_hub(hub_directory))
        loopback = stack.enter_context(loopback_hosts(directory / "ssh", remote)) if remote else None
        homes = {name: loopback.hosts[name].home if loopback and name in loopback.hosts else home for name in hosts}
        config = loopback.config if loopback else None
        fleet = stack.enter_context(fleet_over(directory, hub, hosts, homes, config, *options))
        fleet.loopback = loopback
        if not pdsh:
            fleet.environment["PATH"] = _path_without(directory / "bin", "pdsh")
        yield fleet


@contextmanager
def fleet_over(
    directory: Path,
    hub: RunningHub,
    hosts: Mapping[str, int],
    homes: Mapping[str, Path],
    ssh_config: Path | None,
    *options: str,
) -> Iterator[Fleet]:
    """A fleet over hosts (name → ranks) and a Hub that stand already; `directory` holds what is the launcher's.

    At the end everything the fleet started is killed.
    """
    mark = secrets.token_hex(6)
    work, home = directory / "work", directory / "home"
    work.mkdir(parents=True)
    home.mkdir()
    (work / "hosts.txt").write_text("".join(f"{name} {ranks}\n" for name, ranks in hosts.items()))
    ssh = ("--ssh-config", str(ssh_config), "--remote-python", sys.executable) if ssh_config else ()
    dirs = ("--output-dir", f"~/{mark}/shards", "--holdout-dir", f"~/{mark}/holdout")
    fleet = Fleet(
        directory=work,
        homes=homes,
        environment=_environment(home, hub.endpoint, mark),
        hub=hub,
        loopback=None,
        options=("--dataset", DATASET, "--tokenizer", "bytes", "--holdout-rate", "2%", *dirs, *ssh, *options),
        base=mark,
        mark=mark,
    )
    try:
        yield fleet
    finally:
        _kill_all(fleet)


def count(events: list[Event], kind: str, host: str | None = None) -> int:
    """How many events of a kind there are."""
    return sum(event["event"] == kind and host in (None, event.get("host")) for event in events)


def seen(pid: int) -> Seen | None:
    """A living process, found by its number."""
    try:
        state, parent, group = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:3]
        argv = tuple(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1])
    except OSError:
        return None
    return None if state in "ZX" else Seen(pid, argv, int(parent), int(group))


def _environment(home: Path, endpoint: str, mark: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "TIKTOKEN_CACHE_DIR") if name in os.environ}
    return {
        **kept,
        _MARK: mark,
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_ENDPOINT": endpoint,
        "NO_PROXY": "127.0.0.1,localhost",
        "TERM": "xterm",
        "COLUMNS": "120",
    }


def _path_without(directory: Path, program: str) -> str:
    """A PATH with everything of this one but `program`."""
    directory.mkdir()
    for place in reversed(os.environ.get("PATH", os.defpath).split(":")):
        for file in Path(place).iterdir() if Path(place).is_dir() else ():
            link = directory / file.name
            if file.name != program:
                link.unlink(missing_ok=True)
                link.symlink_to(file)
    return str(directory)


def _kill_all(fleet: Fleet) -> None:
    for running in fleet.started:
        if running.process.poll() is None:
            running.process.kill()
    while left := fleet.processes():
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    for running in fleet.started:
        running.process.wait()
        if running.terminal is not None:
            running.terminal.hang_up()


class _Events:
    """Lines appended to the events of any run since this was made."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._start = {path: path.stat().st_size for path in runs.glob("*/events.jsonl")}

    def read(self) -> list[Event]:
        found = []
        for path in sorted(self._runs.glob("*/events.jsonl")):
            with path.open("rb") as file:
                file.seek(self._start.get(path, 0))
                found += [json.loads(line) for line in file if line.endswith(b"\n")]
        return found


def _bearers(cookies: set[bytes]) -> Iterator[Seen]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if cookies.isdisjoint((entry / "environ").read_bytes().split(b"\0")):
                continue
        except OSError:
            continue  # gone meanwhile, or another user's
        if (process := seen(int(entry.name))) is not None:
            yield process


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(events: list[Event]) -> str:
    return "\n".join(json.dumps(event)[:200] for event in events[-20:])
