"""The trainers' own readers, each in an environment of its own, run by tests/interop/readers/read_<name>.py.

scripts/test-interop.sh makes the environments, in .venv-interop/<name> or where SHARDFLEET_INTEROP says.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

_REPOSITORY = Path(__file__).resolve().parents[2]
_SCRIPTS = _REPOSITORY / "tests" / "interop" / "readers"
_SECONDS = 1200

Tokens = NDArray[Any]


@dataclass(frozen=True)
class Answer:
    """What a reader made of a directory."""

    reader: str
    """Package and version."""
    samples: list[list[int]]
    checks: Mapping[str, bool]
    """What else was looked at; see the reader."""


class ReaderError(Exception):
    """A reader ended with an error; its output."""


def python_of(name: str) -> Path | None:
    """The interpreter of a reader's environment; None when it is not there. `megatron_gpt` is another way to read in
    the environment `megatron`."""
    environments = Path(os.environ.get("SHARDFLEET_INTEROP", _REPOSITORY / ".venv-interop")).absolute()
    python = environments / environment_of(name) / "bin" / "python"
    return python if python.exists() else None


def environment_of(name: str) -> str:
    return name.partition("_")[0]


def run_reader(
    name: str, task: str, directory: Path, answer: Path, *arguments: str, cores: frozenset[int] | None = None
) -> dict[str, Any]:
    """Run `read_<name>.py` and return its answer. Raises ReaderError; needs the environment."""
    python = python_of(name)
    if python is None:
        raise ReaderError(f"no environment for {name}: scripts/test-interop.sh {environment_of(name)} makes it")
    done = subprocess.run(
        [python, _SCRIPTS / f"read_{name}.py", task, directory, answer, *arguments],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        env=_environment(answer.parent),
        preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),
    )
    if done.returncode != 0:
        raise ReaderError(f"read_{name}.py ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    facts: dict[str, Any] = json.loads(answer.read_text())
    return facts


def read_by(name: str, directory: Path, scratch: Path, dtype: str, length: int, eod: int) -> Answer:
    """Have a reader read everything. Skips the test where its environment is not there."""
    if python_of(name) is None:
        pytest.skip(f"no reader of {name}: scripts/test-interop.sh {environment_of(name)} installs it")
    answer = scratch / f"{name}.json"
    facts = run_reader(
        *(name, "collect", directory, answer),
        *("--dtype", dtype, "--length", str(length), "--eod", str(eod)),
    )
    found = np.load(answer.with_name(f"{answer.name}.scratch") / "samples.npz")
    ends = np.cumsum(found["lengths"])[:-1]
    return Answer(facts["reader"], [piece.tolist() for piece in np.split(found["tokens"], ends)], facts["checks"])


def windows(documents: Sequence[Sequence[int]], length: int) -> list[list[int]]:
    """Of all tokens in a row; the end that fills none is left out."""
    tokens = [token for document in documents for token in document]
    return [tokens[start : start + length] for start in range(0, len(tokens) - length + 1, length)]


def _environment(home: Path) -> dict[str, str]:
    """What a reader's process sees: nothing of the user's home, no network for the Hub, no second thread to compute."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
