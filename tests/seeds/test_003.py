"""Seed 003, TeenyTinyLlama: its checklist, line by line, with the real commands. The page is docs/seeds/003.md."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers

from tests.support.jobs import write_corpus
from tests.support.seeds import Machine, call

BLOCK = 256
BOS = 1
SPECIALS = ["<unk>", "<s>", "</s>", "<pad>"]
EMOJI = "emoji 👩‍👩‍👧‍👦 🏳️‍🌈, 漢字かな, 한국어"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Machine:
    """The documents, and a tokenizer trained on some of them by the seed's arguments, smaller."""
    machine = Machine(tmp_path_factory.mktemp("003"))
    write_corpus(machine.root / "corpus", [*documents[:250], EMOJI], files=3)
    wishes = ("--kind", "sentencepiece", "--num-samples", 40, "--vocab-size", 700)
    call("tokenizer", "train", "--dataset", machine.root / "corpus", "--out", machine.root / "tokenizer", *wishes)
    return machine


@pytest.fixture(scope="module")
def packed(machine: Machine) -> Path:
    """Blocks, each document begun with BOS and nothing behind it, 100 rows for the test."""
    options = ("--tokenizer", machine.root / "tokenizer", "--bos", "--eod", "none", "--holdout-rate", "0")
    shards = machine.launch(machine.root / "corpus", "shards", *options)
    wishes = ("--block-size", BLOCK, "--test-size", 100, "--to", machine.root / "packed")
    call("export", shards, "--format", "parquet-packed", *wishes)
    return machine.root / "packed"


def rows(folder: Path) -> list[list[int]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path)["input_ids"].to_pylist()]


def test_tokenizer_directory(machine: Machine) -> None:
    """The three files are there, the four special tokens are 0 to 3, byte tokens bring back emoji without `<unk>`."""
    directory = machine.root / "tokenizer"
    names = {path.name for path in directory.iterdir()}
    assert {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"} <= names
    tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    assert [tokenizer.id_to_token(number) for number in range(4)] == SPECIALS
    assert tokenizer.get_vocab_size() == 700
    config = json.loads((directory / "tokenizer_config.json").read_bytes())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    ids = tokenizer.encode(EMOJI, add_special_tokens=False).ids
    assert 0 not in ids
    assert tokenizer.decode(ids) == EMOJI


def test_three_columns(packed: Path) -> None:
    """`train` and `test` hold Parquet of `input_ids` int32, `attention_mask` int8 of ones, `labels` int64, a copy."""
    for folder in ("train", "test"):
        for path in (packed / folder).glob("*.parquet"):
            table = pq.read_table(path)
            assert table.schema.names == ["input_ids", "attention_mask", "labels"]
            assert [field.type.value_type for field in table.schema] == [pa.int32(), pa.int8(), pa.int64()]
            assert table["labels"].to_pylist() == table["input_ids"].to_pylist()
            assert {one for mask in table["attention_mask"].to_pylist() for one in mask} == {1}


def test_blocks_lose_nothing(packed: Path, machine: Machine, documents: list[str]) -> None:
    """Every row is a whole block; with BOS before each document, all rows together are the documents in a row, but for
    less than one block at the very end: remainders are carried. `test` has exactly the rows that were asked for, and
    there are enough for the trainer's sanity check."""
    encode = tokenizers.Tokenizer.from_file(str(machine.root / "tokenizer" / "tokenizer.json")).encode
    stream = [
        token for text in [*documents[:250], EMOJI] for token in (BOS, *encode(text, add_special_tokens=False).ids)
    ]
    train, test = rows(packed / "train"), rows(packed / "test")
    blocks = [stream[start : start + BLOCK] for start in range(0, len(stream) - BLOCK + 1, BLOCK)]
    assert (len(train), len(test)) == (len(blocks) - 100, 100)
    assert len(train) >= 1000
    assert sorted(train + test) == sorted(blocks)
