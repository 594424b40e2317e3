"""Seed 004, distributed sharding: what of its checklist no other test shows. The page is docs/seeds/004.md.

Most of the repository's tests are of this seed: the page says which test shows which line.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import zstandard

from shard.formats.megatron import read_index
from tests.support.jobs import write_corpus
from tests.support.seeds import Machine, call

EOD = 256
TWINS = ("one of two documents of a length", "the other one of the same length")
"""Neighbours in one file, both in train."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Machine:
    """The script for this machine alone, written by one command, then run: the seed's two steps, in byte mode, with
    spaces and quotes in the names of all directories, the run's and the home too."""
    machine = Machine(tmp_path_factory.mktemp("004") / 'it\'s "this" machine', ranks=2)
    machine.root.mkdir()
    write_corpus(machine.root / "corpus", texts(documents), files=4)
    directories = ("--output-dir", machine.root / "my shards", "--holdout-dir", machine.root / "my holdout")
    options = ("--tokenizer", "bytes", "--holdout-rate", "10%")
    machine.run("script", "--dataset", "corpus", *directories, *options)
    script = machine.root / "run_all_hosts.sh"
    subprocess.run(["bash", "-n", script], check=True)
    done = subprocess.run(
        [script, "--plain"],
        cwd=machine.root,
        env={"HOME": str(machine.home), "PATH": _path()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return machine


def texts(documents: list[str]) -> list[str]:
    return [*documents[:118], *TWINS]


def _path() -> str:
    """Without the environment that the script was written from: it names its interpreter itself."""
    return "/usr/local/bin:/usr/bin:/bin"


def written(directory: Path) -> list[list[int]]:
    found: list[list[int]] = []
    for payload in sorted(directory.glob("[0-9]*.bin")):
        ends = np.cumsum(read_index(payload.with_suffix(".idx")).lengths)
        found += [piece.tolist() for piece in np.split(np.fromfile(payload, "<u2"), ends[:-1])] if len(ends) else []
    return found


def test_script_then_run(machine: Machine, documents: list[str]) -> None:
    """Every document is on one side, as bytes, and the two directories verify as the whole dataset."""
    sides = [written(machine.root / name) for name in ("my shards", "my holdout")]
    assert all(sides)
    assert sorted(sides[0] + sides[1]) == sorted([*text.encode(), EOD] for text in texts(documents))
    assert "complete" in call("verify", machine.root / "my shards", machine.root / "my holdout").stdout


def test_the_seeds_own_format(machine: Machine) -> None:
    """As version 14, read after its description: a span is a document without its end, by byte planes."""
    options = ("--format", "catid", "--local-ranks", 2, "--to", machine.root / "catid")
    call("export", machine.root / "my shards", *options)
    data = (machine.root / "catid" / "train" / "data_0.bin").read_bytes()
    index = (machine.root / "catid" / "train" / "index_0.bin").read_bytes()
    assert (data[-10], index[-10]) == (14, 14)
    spans = np.frombuffer(index[:-14], "<u4").reshape(-1, 2)
    bounds = [*spans[:, 0].tolist(), int.from_bytes(index[-14:-10], "little")]
    width = data[-9]
    found = []
    for number, count in enumerate(spans[:, 1].tolist()):
        planes = zstandard.decompress(data[bounds[number] : bounds[number + 1]])
        # [width, tokens] uint8 → [tokens]
        values = np.frombuffer(planes, np.uint8).reshape(width, count)
        found.append(sum(values[plane].astype(np.int64) << (8 * plane) for plane in range(width)).tolist())
    assert found == [document[:-1] for document in written(machine.root / "my shards")]


def test_documents_in_another_order_are_found(machine: Machine) -> None:
    """Records in another order have the same XOR of hashes; here verify names the file, also where they have the same
    length and the index still fits."""
    both = b"".join(np.array([*text.encode(), EOD], "<u2").tobytes() for text in TWINS)
    (path,) = (path for path in (machine.root / "my shards").glob("[0-9]*.bin") if both in path.read_bytes())
    data = path.read_bytes()
    middle = len(both) // 2
    path.write_bytes(data.replace(both, both[middle:] + both[:middle]))
    try:
        found = call("verify", machine.root / "my shards", machine.root / "my holdout")
    finally:
        path.write_bytes(data)
    assert found.exit_code == 1
    assert path.name in " ".join(found.stdout.split())
