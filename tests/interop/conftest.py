"""Shards of real text, of two and of four bytes a token, and what tiktoken makes of the same text."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from shard.records.job import Holdout
from shard.tokenizer.ranks import RANK_FILES
from tests.support.jobs import make_job, rank_spec, write_corpus
from tests.support.oracle import Documents, expected, tiktoken_encode
from tests.support.text import UnavailableError, rank_file
from tests.support.worker import write_all

_RATE = "0.1"
DTYPES = {"r50k_base": "uint16", "cl100k_base": "uint32"}


@dataclass(frozen=True)
class Store:
    """Directories of shards, and what must be in them."""

    train: Path
    holdout: Path
    dtype: str
    eod: int
    files: dict[str, list[Documents]]
    """Split → the documents of every shard, by tiktoken, the end-of-document id behind each."""

    def documents(self, split: str = "train") -> Documents:
        return [document for file in self.files[split] for document in file]


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Store:
    """Five units, tokens of two bytes."""
    return _store(tmp_path_factory, documents, "r50k_base")


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Store:
    """Five units, tokens of four bytes."""
    return _store(tmp_path_factory, documents, "cl100k_base")


@pytest.fixture(params=["narrow", "wide"])
def store(request: pytest.FixtureRequest) -> Store:
    """Either."""
    found: Store = request.getfixturevalue(request.param)
    return found


def _store(factory: pytest.TempPathFactory, documents: list[str], encoding: str) -> Store:
    try:
        ranks = rank_file(encoding)
    except UnavailableError as error:
        pytest.skip(str(error))
    root = factory.mktemp(f"interop-{encoding}")
    directory = root / "tokenizer"
    directory.mkdir()
    (directory / RANK_FILES[encoding].cache_name).write_bytes(ranks)
    corpus = write_corpus(root / "corpus", documents, files=5)
    spec = rank_spec(encoding)
    job = make_job(corpus, root, tokenizer=spec, holdout=Holdout(rate=float(_RATE)))
    write_all(job, directory)
    encode = tiktoken_encode(encoding, directory)
    by_file = [
        expected(pq.read_table(path)["text"].to_pylist(), encode, eod=spec.eod_id, rate=_RATE)
        for path in sorted(corpus.glob("*.parquet"))
    ]
    assert spec.eod_id is not None
    return Store(
        train=Path(job.output_dir),
        holdout=Path(job.holdout_dir),
        dtype=DTYPES[encoding],
        eod=spec.eod_id,
        files={split: [found[split] for found in by_file] for split in ("train", "holdout")},
    )
