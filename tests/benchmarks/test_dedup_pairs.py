"""benchmarks/dedup_pairs.py: keys that are made up as it says, and the same pairs of them with any memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def test_shares_and_limits(tmp_path: Path) -> None:
    """5 % of the documents are exact copies, and as many documents and pairs are found with little memory as with much;
    a limit that is too small is a failure."""
    command = [sys.executable, "-m", "benchmarks.dedup_pairs", "--work", tmp_path, "--json", tmp_path / "found.json"]
    command += ["--millions", "0.1", "--memory", "default", "32MB", "100kB"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "failed, exit code" in done.stdout
    much, little, none = (result["stages"] for result in json.loads((tmp_path / "found.json").read_text()))
    found = {stage["name"]: stage["rows"] for stage in much}
    assert found == {stage["name"]: stage["rows"] for stage in little}
    assert none == []
    assert found["equal"] == pytest.approx(0.05 * 100_000, rel=0.1)
    assert 0.15 * 100_000 < found["in any pair"] < 0.4 * 100_000
    assert found["equal"] < found["components"] < found["in any pair"]
