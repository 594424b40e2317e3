"""Whole processes, pinned to cores, measured by the kernel.

This module and what starts processes with it stay small on purpose: in Linux the peak memory of a child begins at that
of the process which forked it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Command:
    """A process to measure."""

    arguments: tuple[str, ...]
    """Of the Python interpreter."""
    cores: frozenset[int]


@dataclass(frozen=True)
class Usage:
    """What processes, started together, took from the start of the first to the end of the last."""

    seconds: float
    cpu_seconds: float
    """User and system, descendants included."""
    peak_bytes: int
    """Resident memory of the largest single process, descendants included."""


class BenchmarkError(Exception):
    """A process that was to be measured failed."""


def measure(commands: Sequence[Command], log: Path) -> Usage:
    """Run processes at the same time and wait for them. Raises BenchmarkError, naming the log, when one fails."""
    with log.open("wb") as output:
        started = time.monotonic()
        processes = [_start(command, output.fileno()) for command in commands]
        ends = [os.wait4(process.pid, 0) for process in processes]
        seconds = time.monotonic() - started
    for process, (_, status, _) in zip(processes, ends, strict=True):
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode != 0:
            raise BenchmarkError(f"{process.args!r} ended with {process.returncode}; its output is in {log}")
    usages = [usage for _, _, usage in ends]
    return Usage(
        seconds=seconds,
        cpu_seconds=sum(usage.ru_utime + usage.ru_stime for usage in usages),
        # wait4 gives the maximum over the process and the descendants it has waited for, in KiB.
        peak_bytes=max(usage.ru_maxrss for usage in usages) * 1024,
    )


def run_quietly(*arguments: str) -> None:
    """Run the interpreter for something that is not measured. Raises BenchmarkError with its output."""
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")


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
        return subprocess.Popen(
            [sys.executable, *command.arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=output, stderr=output
        )
