"""docs/seeds/003.md, command by command: a tokenizer after a reference, then packed rows for TeenyTinyLlama."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers

from shard.training.recipe import USUAL, Configuration
from tests.support.jobs import write_corpus

SHARDFLEET = str(Path(sys.executable).parent / "shardfleet")
EMOJI = "emoji 👩‍👩‍👧‍👦 🏳️‍🌈, 漢字かな, 한국어"
LENGTH, TEST_ROWS = 32, 100


@pytest.fixture(scope="module")
def texts(documents: list[str]) -> list[str]:
    return [EMOJI, *documents[:60]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """After all commands: `tokenizer`, `shards`, `packed`."""
    directory = tmp_path_factory.mktemp("seed")
    write_corpus(directory / "data", texts, files=3)
    llama = {part: getattr(USUAL["sentencepiece"], part) for part in Configuration.__slots__}
    (directory / "reference").mkdir()
    (directory / "reference" / "tokenizer.json").write_text(json.dumps({"version": "1.0", **llama}))
    (directory / "hosts.txt").write_text("localhost 2\n")
    train = ("--reference", "./reference", "--num-samples", "2M", "--vocab-size", 800, "--out", "tokenizer")
    run(directory, "tokenizer", "train", "--dataset", "./data", *train)
    framed = ("--tokenizer", "tokenizer", "--bos", "--eod", "none", "--holdout-rate", 0)
    where = ("--output-dir", directory / "shards", "--holdout-dir", directory / "holdout")
    run(directory, "launch", "--plain", "--dataset", "./data", *framed, *where)
    rows = ("--context-length", LENGTH, "--test-size", TEST_ROWS)
    run(directory, "export", "shards", "--format", "parquet-packed", *rows, "--to", "packed")
    return directory


def run(directory: Path, *words: object) -> None:
    done = subprocess.run(
        [SHARDFLEET, *map(str, words)],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"


def test_the_tokenizer(place: Path) -> None:
    """Special tokens have ids 0 to 3, the size is the one asked for, the configuration is Llama's, and emoji come back
    without an <unk>: it sets <s> before a text, as its reference does."""
    tokenizer = tokenizers.Tokenizer.from_file(str(place / "tokenizer" / "tokenizer.json"))
    assert [tokenizer.id_to_token(i) for i in range(4)] == ["<unk>", "<s>", "</s>", "<pad>"]
    assert tokenizer.get_vocab_size() == 800
    written = json.loads((place / "tokenizer" / "tokenizer.json").read_bytes())
    reference = json.loads((place / "reference" / "tokenizer.json").read_bytes())
    assert all(written[part] == reference[part] for part in Configuration.__slots__)
    ids = tokenizer.encode(EMOJI).ids
    assert (ids[0], 0 in ids, tokenizer.decode(ids)) == (1, False, EMOJI)


def test_the_rows(place: Path, texts: list[str]) -> None:
    """train/ and test/ hold every token of every document, each begun by <s>, in rows of one length; what is left out
    is less than a row; exactly as many rows are for the test as were asked for."""
    tokenizer = tokenizers.Tokenizer.from_file(str(place / "tokenizer" / "tokenizer.json"))
    stream = [token for text in texts for token in tokenizer.encode(text).ids]
    everything = [stream[at : at + LENGTH] for at in range(0, len(stream) - LENGTH + 1, LENGTH)]
    train, test = (pq.read_table(place / "packed" / folder) for folder in ("train", "test"))
    assert test.num_rows == TEST_ROWS
    assert train.num_rows >= 1000
    assert sorted(train["input_ids"].to_pylist() + test["input_ids"].to_pylist()) == sorted(everything)
    for table in (train, test):
        assert table.schema.types == [pa.list_(pa.int32()), pa.list_(pa.int8()), pa.list_(pa.int64())]
        assert table["labels"].to_pylist() == table["input_ids"].to_pylist()
        assert {tuple(row) for row in table["attention_mask"].to_pylist()} == {(1,) * LENGTH}
