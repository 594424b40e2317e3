"""benchmarks/formats.py: what a reader must find follows from the shards, and the table says what was measured."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.expect import Shards, batches_of_files, every_token, without_ends
from benchmarks.formats import FORMATS, OURS, Rates, Row, table
from benchmarks.plain import READERS
from shard.export.options import ExportOptions
from shard.export.run import FORMATS as EXPORTS
from shard.export.run import export
from shard.records.job import Holdout
from tests.interop.readers.harness import Request
from tests.support.jobs import BYTES_SPEC, make_job, write_corpus
from tests.support.worker import write_all

LENGTH = 64
SIZES = {"llmc": 30_000}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Shards:
    """Four units of train shards, one byte an id."""
    root = tmp_path_factory.mktemp("formats")
    corpus = write_corpus(root / "corpus", documents[:60], files=4)
    job = make_job(corpus, root, tokenizer=BYTES_SPEC, holdout=Holdout(rate=0.0))
    write_all(job, root)
    return Shards(Path(job.output_dir))


@pytest.mark.parametrize("name", ["native", "nanogpt", "llmc"])
def test_plain_readers_find_what_is_expected(name: str, shards: Shards, tmp_path: Path) -> None:
    """Number of tokens and sum of ids are those that follow from the shards, for every reader without a package."""
    directory = shards.directory
    if name != "native":
        directory = tmp_path / "out"
        export([shards.directory], name, directory, ExportOptions(shard_tokens=SIZES.get(name)))
    request = Request(directory, tmp_path, shards.dtype, LENGTH, shards.eod)
    for reader in FORMATS[name]:
        samples = [np.asarray(sample) for sample in READERS[reader.script](request)]
        found = sum(sample.size for sample in samples), sum(int(sample.sum()) for sample in samples)
        assert found == reader.expect(shards, directory, LENGTH)
        assert 0 < found[0] <= shards.tokens


def test_a_token_changed_is_noticed(shards: Shards, tmp_path: Path) -> None:
    """One id that differs gives another sum."""
    export([shards.directory], "llmc", tmp_path / "out", ExportOptions(shard_tokens=30_000))
    path = tmp_path / "out" / "shardfleet_train_000001.bin"
    data = bytearray(path.read_bytes())
    data[1024 + 200] ^= 1
    path.write_bytes(data)
    request = Request(tmp_path / "out", tmp_path, shards.dtype, LENGTH, shards.eod)
    total = sum(int(sample.sum()) for sample in READERS["llmc"](request))
    assert abs(total - batches_of_files(shards, tmp_path / "out", LENGTH)[1]) == 1


def test_sums_of_whole_streams(shards: Shards) -> None:
    """All tokens, and all but the ends of documents, of which there is one a document."""
    count, total = every_token(shards, shards.directory, LENGTH)
    assert count == shards.tokens
    assert without_ends(shards, shards.directory, LENGTH) == (count - 60, total - 60 * shards.eod)


def test_every_export_has_a_row() -> None:
    """A format that is added to `shardfleet export` is measured."""
    assert set(FORMATS) - set(OURS) == set(EXPORTS)


def test_table_says_what_is_missing() -> None:
    """The best, in the units of the heading; a reader that is not there has no figure, a link no size of its own."""
    row = Row("olmo", "`Reader`", "every token", 0.01, 2.01, Rates(2e8, 3e8), Rates(6e6, 7e6))
    lone = Row("native", "`Other`", "every token", 2.02, 2.02, None, None)
    _, _, first, second = table([row, lone])
    assert first == "| `olmo` | `Reader` | every token | 0.01 beside the shards | 200 | 6.0 |"
    assert second == "| `native` | `Other` | every token | 2.02 |  | not installed |"
    assert list(table([row], by_cpu=True))[-1].endswith("| 300 | 7.0 |")
