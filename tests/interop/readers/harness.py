"""What the scripts beside this one share; each runs in an environment of its own, which has NumPy and one reader.

    python read_<name>.py collect DIRECTORY ANSWER --dtype uint16 --length 128 --eod 50256
    python read_<name>.py time DIRECTORY ANSWER --dtype uint16 --length 2048 --eod 50256 --seconds 2

ANSWER is made: all samples as NumPy arrays (collect), or how long reading took (time); both say what was installed.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Request:
    """What to read."""

    directory: Path
    """With the files of one split."""
    scratch: Path
    """Free to write in; it exists."""
    dtype: str
    """uint16 or uint32."""
    length: int
    """Tokens of a sample, where the reader cuts samples."""
    eod: int

    @property
    def itemsize(self) -> int:
        return np.dtype(self.dtype).itemsize


Samples = Iterable[Any]
"""One-dimensional arrays or tensors of tokens."""
Read = Callable[[Request], Samples]
"""Opens what is asked for; reading is what iterating does."""
Check = Callable[[Request, Sequence[np.ndarray]], Mapping[str, bool]]
"""What else there is to find out about the files: name → whether it is so."""


def main(package: str, read: Read, check: Check | None = None, collect: Read | None = None) -> None:
    """`collect` is another way to read, where samples by `read` are not what can be compared."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=("collect", "time"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("answer", type=Path)
    parser.add_argument("--dtype", choices=("uint16", "uint32"), required=True)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--eod", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    scratch = options.answer.with_name(f"{options.answer.name}.scratch")
    scratch.mkdir(parents=True)
    request = Request(options.directory, scratch, options.dtype, options.length, options.eod)
    facts = {"reader": f"{package} {version(package)}"}
    if options.task == "collect":
        # Copies: what a reader gives may be a view of a file that it unmaps at its end.
        samples = [np.array(sample) for sample in (collect or read)(request)]
        assert all(sample.ndim == 1 for sample in samples)
        np.savez(
            scratch / "samples.npz",
            tokens=np.concatenate(samples),
            lengths=np.array([len(sample) for sample in samples]),
        )
        facts |= {"checks": dict(check(request, samples)) if check else {}}
    else:
        facts |= _timed(read, request, options.seconds)
    options.answer.write_text(json.dumps(facts))


def _timed(read: Read, request: Request, seconds: float) -> dict[str, Any]:
    """Passes over everything, opened anew for each: the first warms up, the others are timed, one at least."""
    passes: list[float] = []
    by_cpu: list[float] = []
    counts = set()
    while len(passes) < 2 or sum(passes[1:]) < seconds:
        samples = read(request)
        start, cpu_start = time.perf_counter(), time.process_time()
        tokens = total = 0
        for sample in samples:
            # A tensor has numel; its sum and an array's are made by the same kind of loop over memory.
            tokens += sample.numel() if hasattr(sample, "numel") else sample.size
            total += int(sample.sum())
        passes.append(time.perf_counter() - start)
        by_cpu.append(time.process_time() - cpu_start)
        counts.add((tokens, total))
    ((tokens, total),) = counts  # every pass gave the same
    return {
        "tokens": tokens,
        "id_sum": total,
        "passes": passes[1:],
        "by_cpu": by_cpu[1:],
        "cores": len(os.sched_getaffinity(0)),
    }
