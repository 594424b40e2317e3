"""An interpreter with torch, which the tests' own need not have."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def torch_python() -> str:
    """This one, where it has torch; else the one that scripts/test-interop.sh makes. Skips where there is none."""
    if importlib.util.find_spec("torch") is not None:
        return sys.executable
    environments = Path(os.environ.get("SHARDFLEET_INTEROP", ROOT / ".venv-interop"))
    python = environments / "torch" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no torch here, and no {python}: pip install torch, or scripts/test-interop.sh torch, makes one")
    return str(python)


def environment(**more: str) -> dict[str, str]:
    """For that interpreter: it finds this checkout, and takes one thread."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more
