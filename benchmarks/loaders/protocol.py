"""What every loader's script is given, and what it answers. Imported in their environments: standard library only.

    python loaders/NAME.py --data DIR --context-length L --batch-size B --scratch DIR \
        (--seconds S | --batches N | --prepare N) [--done N]

A script opens its loader with so many batches done and yields, for batch after batch and epoch after epoch, how many
labels are in it: all of them give int64. What it prints is one line of JSON.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

SEED = 1234
_WARM_UP_BATCHES = 8


@dataclass(frozen=True)
class Arguments:
    """What to read, and how."""

    data: Path
    """The export's split, or the directory of shards for ours."""
    context_length: int
    batch_size: int
    """Rows of a batch."""
    scratch: Path
    """For caches and states; kept between the runs of a script."""


@dataclass(frozen=True)
class Answer:
    """Times in seconds."""

    first_batch: float
    """From the start of the process, imports and all, to the first batch."""
    opened: float
    """From the moment the imports are done to the first batch."""
    batches: int
    tokens: int
    seconds: float
    """That those batches took, the first ones not counted."""
    cpu_seconds: float
    """The same of the processor, all threads of the process."""
    peak_bytes: int
    """Resident memory of the process at its highest, pages of mapped files included."""
    anonymous_bytes: int
    """The same without those, when it ended."""

    @classmethod
    def read(cls, log: Path) -> "Answer":
        """From the output of a script, among which may be the warnings of its libraries."""
        lines = (line for line in log.read_text(errors="replace").splitlines() if line.startswith('{"first_batch"'))
        return cls(**json.loads(next(lines)))


Open = Callable[[Arguments, int], Iterator[int]]
"""(arguments, batches done) → tokens of every batch from there on."""


def run(open_batches: Open, prepare: Callable[[Arguments, int], None] | None = None) -> None:
    """The command line of a script. `prepare` writes what a loader needs to begin after so many batches."""
    began = time.clock_gettime(time.CLOCK_BOOTTIME)
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--context-length", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--done", type=int, default=0)
    limit = parser.add_mutually_exclusive_group(required=True)
    limit.add_argument("--seconds", type=float)
    limit.add_argument("--batches", type=int)
    limit.add_argument("--prepare", type=int)
    options = parser.parse_args()
    given = Arguments(options.data, options.context_length, options.batch_size, options.scratch)
    if options.prepare is not None:
        if prepare is not None:
            prepare(given, options.prepare)
        return
    batches = open_batches(given, options.done)
    next(batches)
    first = time.clock_gettime(time.CLOCK_BOOTTIME)
    answer = Answer(
        first_batch=first - _process_start(),
        opened=first - began,
        **_drained(batches, options.seconds, options.batches),
        peak_bytes=_status("VmHWM"),
        anonymous_bytes=_status("RssAnon"),
    )
    print(json.dumps(asdict(answer)))


def _drained(batches: Iterator[int], seconds: float | None, most: int | None) -> dict[str, float]:
    """Take batches for so many seconds, or so many batches."""
    # A cold run counts from its second batch on: the first batches are what it is about.
    for _ in range(_WARM_UP_BATCHES if most is None else 0):
        next(batches)
    taken = tokens = 0
    began, cpu_began = time.monotonic(), time.process_time()
    now = began
    while (taken < most) if most is not None else (now - began < seconds):
        tokens += next(batches)
        taken += 1
        now = time.monotonic()
    cpu = time.process_time() - cpu_began
    return {"batches": taken, "tokens": tokens, "seconds": now - began, "cpu_seconds": cpu}


def _process_start() -> float:
    """In seconds since boot; the kernel counts hundredths."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _status(name: str) -> int:
    """Bytes, of this process; not of what it was started from, as in getrusage."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
