"""Whole processes, pinned to cores, measured by the kernel.

This module and what starts processes with it stay small on purpose: in Linux the peak memory of a child begins at that
of the process which forked it.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tree import Patience, Watch, adopting_orphans, children, descendants, kill

ROOT = Path(__file__).resolve().parents[1]
_LEFTOVER_SECONDS = 2.0


@dataclass(frozen=True)
class Command:
    """A process to measure."""

    arguments: tuple[str, ...]
    """Of the Python interpreter."""
    cores: frozenset[int]
    python: str = sys.executable
    environment: Mapping[str, str] | None = None
    """None for this process's."""
    directory: Path = ROOT
    """To run in."""


@dataclass(frozen=True)
class Usage:
    """What processes, started together, took from the start of the first to the end of the last."""

    seconds: float
    cpu_seconds: float
    """User and system, descendants included."""
    peak_bytes: int
    """Resident memory of the largest single process, descendants included."""
    tree_bytes: int
    """Memory of all of them together, what they share counted once, when it was largest; sampled."""


class BenchmarkError(Exception):
    """A process that was to be measured failed."""


class HungError(BenchmarkError):
    """Processes that were to be measured did not end and were killed."""


def measure(commands: Sequence[Command], log: Path, patience: Patience | None = None) -> Usage:
    """Run processes at the same time and wait for them; nothing of theirs is alive afterwards.

    All children that this process gets meanwhile are taken to be theirs: no other thread may start one.

    Raises:
        HungError: past `patience`.
        BenchmarkError: naming the log, when one fails.
    """
    others = frozenset(children(os.getpid()))
    with log.open("wb") as output, adopting_orphans():
        started = time.monotonic()
        processes = [_start(command, output.fileno()) for command in commands]
        watch = Watch(others, patience)
        watch.start()
        ends = [os.wait4(process.pid, 0) for process in processes]
        seconds = time.monotonic() - started
        watch.stop()
        left = _sweep(others)
    for process, (_, status, _) in zip(processes, ends, strict=True):
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.stdin is not None:
            process.stdin.close()
    if watch.hung:
        raise HungError(watch.hung)
    for process in processes:
        if process.returncode != 0:
            raise BenchmarkError(f"{process.args!r} ended with {process.returncode}; its output is in {log}")
    usages = [usage for _, _, usage in ends] + left
    return Usage(
        seconds=seconds,
        cpu_seconds=sum(usage.ru_utime + usage.ru_stime for usage in usages),
        # wait4 gives the maximum over the process and the descendants it has waited for, in KiB.
        peak_bytes=max(usage.ru_maxrss for usage in usages) * 1024,
        tree_bytes=watch.peak_bytes,
    )


def _sweep(others: frozenset[int]) -> list[resource.struct_rusage]:
    """Wait for what a run has left behind, a fork server for example, and kill it when it does not end by itself."""
    usages = []
    deadline = time.monotonic() + _LEFTOVER_SECONDS
    while left := children(os.getpid()) - others:
        if time.monotonic() > deadline:
            kill(descendants(left))
        for pid in left:
            ended, _, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                usages.append(usage)
        time.sleep(0.01)
    return usages


def run_quietly(*arguments: str) -> str:
    """Run the interpreter for something that is not timed here; returns what it prints.

    Raises BenchmarkError with its errors.
    """
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


@contextmanager
def serving(directory: Path, cores: frozenset[int]) -> Iterator[str]:
    """The local Hub server, pinned, over `<directory>/<owner>/<name>/…`; yields its endpoint."""
    program = (
        "import sys; from tests.support.hub import running_hub; from pathlib import Path\n"
        "with running_hub(Path(sys.argv[1]), faults=False) as hub: print(hub.endpoint, flush=True); sys.stdin.read()"
    )
    with (
        pinned(cores),
        subprocess.Popen(
            [sys.executable, "-c", program, str(directory)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            endpoint = process.stdout.readline().strip()
            if not endpoint:
                raise BenchmarkError("the Hub server did not start")
            yield endpoint
        finally:
            process.stdin.close()


HUB_PROGRAM = (
    "import sys; from pathlib import Path; from provision.hubserver.serve import serve\n"
    "serve(Path(sys.argv[1]), sys.argv[2], 8000, faults=True, on_ready=lambda found: print(found, flush=True))"
)
"""For `python -c`, with a directory and an address: a Hub server, which prints its endpoint when it answers."""


@contextmanager
def hub_elsewhere(argv: Sequence[str]) -> Iterator[str]:
    """A command that runs HUB_PROGRAM in another network namespace; yields its endpoint."""
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            endpoint = server.stdout.readline().strip()
            if not endpoint:
                raise BenchmarkError("the Hub server did not start")
            yield endpoint
        finally:
            server.kill()


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """Processes started inside run on these cores only, and so do their children."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _start(command: Command, output: int) -> "subprocess.Popen[bytes]":
    with pinned(command.cores):
        # Standard input stays open: a supervisor stops when it ends.
        try:
            return subprocess.Popen(
                [command.python, *command.arguments],
                cwd=command.directory,
                env=command.environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        except OSError as error:
            raise BenchmarkError(f"{command.python}: {error.strerror}") from error
