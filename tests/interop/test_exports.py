"""What `shardfleet export` writes, read by the trainers' own readers: exactly tiktoken's tokens of the same text.

A reader that is not installed is skipped; see tests/support/readers.py.
"""

from pathlib import Path
from typing import Any

import pytest

from shard.export.options import ExportOptions
from shard.export.run import export
from tests.support.readers import Answer, read_by, windows

LENGTH = 128


def read(
    name: str, store: Any, tmp_path: Path, options: ExportOptions, *, length: int = LENGTH, format_name: str = ""
) -> Answer:
    """Export the train shards and have them read. Whatever else the reader looks at must be so."""
    out = tmp_path / "export"
    export([store.train], format_name or name, out, options)
    directory = out / "train" if (out / "train").is_dir() else out
    answer = read_by(name, directory, tmp_path, store.dtype, length, store.eod)
    assert {what for what, so in answer.checks.items() if not so} == set()
    return answer


def test_megatron(store: Any, tmp_path: Path) -> None:
    """IndexedDataset gives every document; IndexedDatasetBuilder writes the very same pair."""
    found = read("megatron", store, tmp_path, ExportOptions())
    assert found.samples == store.documents()
    assert found.checks


def test_megatron_samples(store: Any, tmp_path: Path) -> None:
    """GPTDataset makes its samples of exactly these documents."""
    found = read("megatron_gpt", store, tmp_path, ExportOptions(), format_name="megatron")
    assert found.checks
    assert {len(sample) for sample in found.samples} == {LENGTH}


def test_datatrove(store: Any, tmp_path: Path) -> None:
    """DatatroveFolderDataset gives the windows of every file, and by the index the right positions."""
    found = read("datatrove", store, tmp_path, ExportOptions())
    assert found.samples == [window for file in store.files["train"] for window in windows(file, LENGTH)]


def test_olmo(store: Any, tmp_path: Path) -> None:
    """NumpyFSLDataset gives the windows of every file; the tables name the documents that the tokens do."""
    found = read("olmo", store, tmp_path, ExportOptions())
    assert found.samples == [window for file in store.files["train"] for window in windows(file, LENGTH)]


@pytest.mark.parametrize("length", [None, LENGTH], ids=["documents", "windows"])
def test_mds(length: int | None, store: Any, tmp_path: Path) -> None:
    """StreamingDataset gives every sample in order; MDSWriter writes the very same shards and index."""
    # Small files, so that there are several.
    found = read("mds", store, tmp_path, ExportOptions(context_length=length, shard_tokens=50_000))
    documents = store.documents()
    assert found.samples == (documents if length is None else windows(documents, length))
    assert len(list((tmp_path / "export" / "train").glob("*.mds"))) > 2


def test_litdata(store: Any, tmp_path: Path) -> None:
    """StreamingDataset with TokensLoader gives the blocks of all documents in a row."""
    found = read("litdata", store, tmp_path, ExportOptions())
    assert found.samples == windows(store.documents(), LENGTH)


@pytest.mark.parametrize("format_name", ["parquet", "parquet-packed"])
def test_parquet(format_name: str, store: Any, tmp_path: Path) -> None:
    """`datasets` gives every row, over several files; transformers makes batches of packed rows."""
    length = None if format_name == "parquet" else LENGTH
    options = ExportOptions(context_length=length, shard_tokens=50_000)
    found = read("parquet", store, tmp_path, options, format_name=format_name)
    documents = store.documents()
    assert found.samples == (documents if length is None else windows(documents, length))
    assert bool(found.checks) == (format_name == "parquet-packed")
    assert len(list((tmp_path / "export" / "train").iterdir())) > 2


@pytest.mark.parametrize("size", [None, 100_000], ids=["one file", "several files"])
def test_catid(size: int | None, store: Any, tmp_path: Path) -> None:
    """DataLoader gives every document, to one rank and to several; DataVerifier finds the files right, and a flipped
    bit wrong."""
    found = read("catid", store, tmp_path, ExportOptions(shard_tokens=size))
    assert sorted(found.samples) == sorted(document[:-1] for document in store.documents())
    assert (len(list((tmp_path / "export" / "train").glob("data_*.bin"))) > 1) == (size is not None)
