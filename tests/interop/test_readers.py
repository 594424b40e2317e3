"""What `shardfleet export` writes, read by the trainers' own readers, each in an environment of its own.

scripts/test-interop.sh makes the environments, in .venv-interop/<name> or where SHARDFLEET_INTEROP says. A reader that
is not there is skipped.
"""

import os
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from shard.export.options import ExportOptions
from shard.export.run import export
from shard.formats.megatron import read_index
from shard.job import Holdout
from tests.support.jobs import json_spec, make_job, write_corpus
from tests.support.worker import write_all

_HERE = Path(__file__).parent
_ENVIRONMENTS = Path(os.environ.get("SHARDFLEET_INTEROP", _HERE.parents[1] / ".venv-interop"))
_WINDOW = 128

Documents = list[list[int]]


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory, documents: list[str], small_tokenizer: Path) -> Path:
    """Five units of train shards of real text, ids of two bytes."""
    root = tmp_path_factory.mktemp("interop")
    corpus = write_corpus(root / "corpus", documents, files=5)
    job = make_job(corpus, root, tokenizer=json_spec(small_tokenizer), holdout=Holdout(rate=0.0))
    write_all(job, small_tokenizer.parent)
    return Path(job.output_dir)


@pytest.fixture(scope="session")
def files(shards: Path) -> list[Documents]:
    """Every document of every shard, end-of-document id included."""
    found = []
    for payload in sorted(shards.glob("*.bin")):
        tokens = np.fromfile(payload, dtype="<u2")
        ends = np.cumsum(read_index(payload.with_suffix(".idx")).lengths)
        found.append([tokens[start:end].tolist() for start, end in pairwise([0, *ends])])
    return found


def read(
    name: str, shards: Path, tmp_path: Path, options: ExportOptions, *arguments: object, as_: str = ""
) -> Documents:
    """Export, have it read, and check what else the reader looks at."""
    python = _ENVIRONMENTS / name / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no {python}: scripts/test-interop.sh {name} makes it")
    export([shards], as_ or name, tmp_path / "export", options)
    answer = tmp_path / "answer.npz"
    # -P: the scripts are named as what they import.
    reader = _HERE / "readers" / f"{name}.py"
    done = subprocess.run(
        [python, "-P", reader, tmp_path / "export", answer, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = np.load(answer)
    assert found["same"]
    ends = np.cumsum(found["lengths"])
    return [found["tokens"][start:end].tolist() for start, end in pairwise([0, *ends])]


def joined(documents: Documents) -> list[int]:
    return [token for document in documents for token in document]


def windows(documents: Documents, length: int) -> Documents:
    """Of all tokens in a row; the end that fills none is left out."""
    tokens = joined(documents)
    return [tokens[start : start + length] for start in range(0, len(tokens) - length + 1, length)]


def test_megatron(shards: Path, files: list[Documents], tmp_path: Path) -> None:
    """IndexedDataset gives every document; IndexedDatasetBuilder writes the very same pair."""
    assert read("megatron", shards, tmp_path, ExportOptions()) == [document for file in files for document in file]


def test_datatrove(shards: Path, files: list[Documents], tmp_path: Path) -> None:
    """DatatroveFolderDataset gives the windows of every file."""
    expected = [window for file in files for window in windows(file, _WINDOW + 1)]
    assert read("datatrove", shards, tmp_path, ExportOptions()) == expected


def test_olmo(shards: Path, files: list[Documents], tmp_path: Path) -> None:
    """NumpyFSLDataset gives the windows of every file."""
    expected = [window for file in files for window in windows(file, _WINDOW)]
    assert read("olmo", shards, tmp_path, ExportOptions(), files[0][0][-1]) == expected


@pytest.mark.parametrize("length", [None, _WINDOW])
def test_mds(length: int | None, shards: Path, files: list[Documents], tmp_path: Path) -> None:
    """LocalDataset gives every sample; MDSWriter writes the very same shards and index."""
    documents = [document for file in files for document in file]
    expected = documents if length is None else windows(documents, length)
    assert read("mds", shards, tmp_path, ExportOptions(context_length=length)) == expected


def test_litdata(shards: Path, files: list[Documents], tmp_path: Path) -> None:
    """TokensLoader gives the blocks of all documents in a row."""
    expected = windows([document for file in files for document in file], _WINDOW)
    assert read("litdata", shards, tmp_path, ExportOptions()) == expected


@pytest.mark.parametrize("name", ["parquet", "parquet-packed"])
def test_parquet(name: str, shards: Path, files: list[Documents], tmp_path: Path) -> None:
    """`datasets` gives every row, over several files."""
    documents = [document for file in files for document in file]
    length = None if name == "parquet" else _WINDOW
    options = ExportOptions(context_length=length, shard_tokens=5000)
    expected = documents if length is None else windows(documents, length)
    assert read("parquet", shards, tmp_path, options, as_=name) == expected
    assert len(list((tmp_path / "export" / "train").iterdir())) > 2


def test_catid(shards: Path, files: list[Documents], tmp_path: Path) -> None:
    """DataLoader gives every document; DataVerifier finds the files right, and a flipped bit wrong."""
    found = read("catid", shards, tmp_path, ExportOptions())
    assert sorted(found) == sorted(document[:-1] for file in files for document in file)
