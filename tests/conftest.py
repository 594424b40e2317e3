"""What tests share: real text as Parquet, and tokenizers ready for a job."""

from pathlib import Path

import pytest

from shard.tokenizer.ranks import RANK_FILES
from tests.support.jobs import write_corpus
from tests.support.text import UnavailableError, rank_file, real_documents, train_small_model, train_small_tokenizer


@pytest.fixture(scope="session")
def documents() -> list[str]:
    """400 distinct real documents, about 2 MB."""
    return real_documents(400)


@pytest.fixture(scope="session")
def corpus_dir(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """Those documents as four Parquet files of two row groups each, columns `id` and `text`."""
    return write_corpus(tmp_path_factory.mktemp("corpus") / "data", documents, files=4)


@pytest.fixture(scope="session")
def rank_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job's tokenizer directory with r50k_base; see tests.support.jobs.rank_spec."""
    return _rank_directory(tmp_path_factory, "r50k_base")


@pytest.fixture(scope="session")
def cl100k_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job's tokenizer directory with cl100k_base."""
    return _rank_directory(tmp_path_factory, "cl100k_base")


@pytest.fixture(scope="session")
def small_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `tokenizer.json`: byte-level BPE of 2,000 tokens, `<|endoftext|>` among them; its parent serves as a job's
    tokenizer directory, see tests.support.jobs.json_spec."""
    path = tmp_path_factory.mktemp("small-tokenizer") / "tokenizer.json"
    train_small_tokenizer(path)
    return path


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `tokenizer.model`: SentencePiece BPE with byte fallback of 2,000 pieces; its parent serves as a job's tokenizer
    directory, see tests.support.jobs.model_spec."""
    path = tmp_path_factory.mktemp("small-model") / "tokenizer.model"
    train_small_model(path)
    return path


def _rank_directory(factory: pytest.TempPathFactory, encoding: str) -> Path:
    try:
        data = rank_file(encoding)
    except UnavailableError as error:
        pytest.skip(str(error))
    directory = factory.mktemp(encoding)
    (directory / RANK_FILES[encoding].cache_name).write_bytes(data)
    return directory
