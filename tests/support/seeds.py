"""What tests of the seeds' checklists share: the real command on this machine, and a reader of Megatron's pairs."""

import os
import struct
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from provision.cli import cli

SHARDFLEET = str(Path(sys.executable).parent / "shardfleet")
_TYPES = {4: "<i4", 8: "<u2"}


@dataclass(frozen=True)
class Machine:
    """A directory with a hosts.txt that names this machine, and a home of its own."""

    root: Path
    ranks: int = 1

    @property
    def home(self) -> Path:
        return self.root / "home"

    def run(self, *arguments: object, code: int = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
        """`shardfleet ARGUMENTS` in a process of its own, which must end with this code."""
        self.home.mkdir(exist_ok=True)
        (self.root / "hosts.txt").write_text(f"localhost {self.ranks}\n")
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        done = subprocess.run(
            [SHARDFLEET, *map(str, arguments)],
            cwd=self.root,
            env={**kept, "HOME": str(self.home), "NO_PROXY": "*", "COLUMNS": "200", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def launch(self, dataset: object, to: str, *arguments: object, code: int = 0) -> Path:
        """A whole run into `to` and `to`_holdout below the root; returns the first."""
        directories = ("--output-dir", self.root / to, "--holdout-dir", self.root / f"{to}_holdout")
        self.run("launch", "--plain", "--dataset", dataset, *directories, *arguments, code=code)
        return self.root / to


def call(*arguments: object) -> Result:
    """`shardfleet ARGUMENTS` in this process; errors come through, as they do to main()."""
    return CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False)


def payload(directory: Path) -> bytes:
    """`cat DIR/*.bin`."""
    return b"".join(path.read_bytes() for path in sorted(directory.glob("*.bin")))


def read_pair(prefix: Path) -> list[list[int]]:
    """The documents of `<prefix>.bin` and `<prefix>.idx`, read after the description of Megatron's format."""
    index = Path(f"{prefix}.idx").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, boundaries = struct.unpack_from("<QBQQ", index, 9)
    assert version == 1
    lengths = np.frombuffer(index, "<i4", sequences, 34)
    starts = np.frombuffer(index, "<i8", sequences, 34 + 4 * sequences)
    # [documents + 1] in sequences
    documents = np.frombuffer(index, "<i8", boundaries, 34 + 12 * sequences)
    assert len(index) == 34 + 12 * sequences + 8 * boundaries
    dtype = np.dtype(_TYPES[code])
    data = Path(f"{prefix}.bin").read_bytes()
    assert starts.tolist() == [0, *np.cumsum(lengths * dtype.itemsize).tolist()][:sequences]
    assert len(data) == int(lengths.sum()) * dtype.itemsize
    tokens = np.frombuffer(data, dtype)
    ends = np.concatenate(([0], np.cumsum(lengths)))[documents]
    return [tokens[start:end].tolist() for start, end in pairwise(ends.tolist())]
