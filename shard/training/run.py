"""`shardfleet tokenizer train`: a dataset → a directory with a tokenizer, which appears whole and checked, or not."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from shard.errors import TokenizerError
from shard.records.frozen import sealed_json
from shard.records.job import Dataset
from shard.records.unit import Unit
from shard.source.parts import opening
from shard.storage.whole import appearing, make_last
from shard.training.alphabet import Alphabet, alphabet_of
from shard.training.aside import aside
from shard.training.bpe import TRAINER, as_json, normalizer_of, train
from shard.training.check import Checked, check, check_model
from shard.training.pieces import as_model, require_expressible
from shard.training.recipe import BOS, EOS, PAD, UNK, Json, Recipe
from shard.training.sample import Sample, draw
from shard.training.spool import Spool

TRAINING_FILE = "training.json"
_NO_LIMIT = int(1e30)
"""How transformers says that a tokenizer sets no length."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained from what."""

    dataset: Dataset
    units: Sequence[Unit]
    recipe: Recipe
    num_samples: int
    seed: int
    target: Path
    """Directory to make."""
    with_model: bool = False
    """Whether a SentencePiece `.model` is to be written, too."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What was made."""

    documents: int
    text_bytes: int
    checked: Checked
    seconds: float


def train_tokenizer(order: Order, locations: dict[str, str], say: Callable[[str], None]) -> Trained:
    """Draw a sample, train twice, check, write.

    `locations` is where files of the Hub lie, as far as known. Raises TokenizerError, SourceError, StoreError or
    DiskFullError; then there is no target.
    """
    started = time.monotonic()
    if order.with_model:
        require_expressible(order.recipe)
    normalizer_of(order.recipe)  # what is wrong with the recipe is said before anything is read
    with appearing({"train": order.target}) as places:
        unfinished = places["train"]
        with closing(Spool(unfinished)) as spool:
            say(f"drawing {order.num_samples:,} documents of {order.dataset.name}…")
            with opening(order.dataset, locations) as open_part:
                sample = draw(order.units, open_part, spool, documents=order.num_samples, seed=order.seed)
            if not sample.documents:
                raise TokenizerError(f"{order.dataset.name}: has no document to train on")
            say(f"training on {sample.documents:,} documents, {sample.text_bytes / 1e6:,.0f} MB…")
            data = aside(lambda: _train_twice(order.recipe, sample, say))
        checked = _write(unfinished, order, sample, data)
        make_last(unfinished)
    return Trained(sample.documents, sample.text_bytes, checked, time.monotonic() - started)


def _train_twice(recipe: Recipe, sample: Sample, say: Callable[[str], None]) -> bytes:
    """The tokenizer.json."""
    data = _train(recipe, sample)
    say("training again, to compare…")
    if _train(recipe, sample) != data:
        raise TokenizerError("the same text gave two tokenizers; nothing was written. Please report this")
    return data


def _train(recipe: Recipe, sample: Sample) -> bytes:
    alphabet: Alphabet | None = None
    if recipe.kind == "sentencepiece":
        normalizer = normalizer_of(recipe)
        alphabet = alphabet_of(sample.texts(), str if normalizer is None else normalizer.normalize_str)
    return as_json(train(sample.texts(), recipe, alphabet), recipe)


def _write(directory: Path, order: Order, sample: Sample, data: bytes) -> Checked:
    """Write all files, and check them."""
    specials: Json = {"bos_token": BOS, "eos_token": EOS, "unk_token": UNK, "pad_token": PAD}
    if order.recipe.more_specials:
        specials["additional_special_tokens"] = list(order.recipe.more_specials)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": _NO_LIMIT, **specials}
    files = {
        "tokenizer.json": data,
        "tokenizer_config.json": _pretty({**config, "clean_up_tokenization_spaces": False}),
        "special_tokens_map.json": _pretty(specials),
        TRAINING_FILE: sealed_json(_facts(order, sample)),
    }
    if order.with_model:
        files["tokenizer.model"] = as_model(json.loads(data)["model"]["vocab"], order.recipe)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    checked = check(directory, data, sample.held_out)
    if order.with_model:
        check_model(directory, data, sample.held_out)
    return checked


def _facts(order: Order, sample: Sample) -> Json:
    """`training.json`: what was trained on what."""
    return {
        "dataset": order.dataset.name,
        "revision": order.dataset.revision,
        "text_column": order.dataset.text_column,
        "seed": order.seed,
        "documents": sample.documents,
        "text_bytes": sample.text_bytes,
        "held_out": len(sample.held_out),
        "kind": order.recipe.kind,
        "vocab_size": order.recipe.vocab_size,
        "trainer": TRAINER,
    }


def _pretty(value: Json) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
