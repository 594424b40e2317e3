"""What `shardfleet tokenizer train` writes, read by AutoTokenizer: the ids that `tokenizers` gives for the same text.

transformers is in the environment of the Parquet reader; see tests/support/readers.py.
"""

import json
from pathlib import Path

import pytest
import tokenizers

from shard.training.recipe import USUAL, Kind, Recipe
from shard.training.run import Order, train_tokenizer
from tests.support.jobs import files_dataset, files_units, write_corpus
from tests.support.readers import read_by

TEXTS = ("emoji 👩‍👩‍👧‍👦 🏳️‍🌈, 漢字かな, 한국어", "  two  spaces\n\ttab")


@pytest.mark.parametrize("kind", ["bpe", "sentencepiece"])
def test_auto_tokenizer(kind: Kind, documents: list[str], tmp_path: Path) -> None:
    """AutoTokenizer and Tokenizer.from_file agree on held-out documents, emoji and all, and they come back."""
    corpus = write_corpus(tmp_path / "corpus", documents[:60], files=2)
    order = Order(
        dataset=files_dataset(corpus),
        units=files_units(corpus),
        recipe=Recipe(kind, USUAL[kind], 900, ("<|user|>",)),
        num_samples=1000,
        seed=42,
        target=tmp_path / "made",
    )
    train_tokenizer(order, {}, lambda text: None)
    texts = [*documents[60:160], *TEXTS]
    (tmp_path / "made" / "texts.jsonl").write_text("".join(f"{json.dumps(text)}\n" for text in texts))
    answer = read_by("parquet_tokenizer", tmp_path / "made", tmp_path, "uint16", 1, 2)
    expected = tokenizers.Tokenizer.from_file(str(tmp_path / "made" / "tokenizer.json")).encode_batch(texts)
    assert answer.samples == [found.ids for found in expected]
    assert answer.reader.startswith("transformers ")
    assert {what for what, so in answer.checks.items() if not so} == set()
