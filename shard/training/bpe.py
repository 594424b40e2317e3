"""Texts → vocabulary and merges, by the trainer of `tokenizers`; and the tokenizer.json around them.

That trainer gives the same result for the same texts as long as the alphabet is given: when it limits the alphabet by
itself, characters of equal frequency are kept or left by chance.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import tokenizers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from shard.errors import TokenizerError
from shard.tokenizer.panics import panics_named
from shard.training.alphabet import Alphabet
from shard.training.recipe import SPACE, UNK, Json, Recipe, with_ids

TRAINER = f"tokenizers {tokenizers.__version__}"
_LEAST_FREQUENCY = 2
_LONGEST_PIECE = 16
"""Characters of a token of a SentencePiece-style BPE, as SentencePiece itself has it."""

# A space belongs to what follows; runs of spaces, words, numbers and all else stay apart from each other.
_WORDS = (
    rf"{SPACE}+(?={SPACE})|{SPACE}?\p{{L}}[\p{{L}}\p{{M}}]*|{SPACE}?\p{{N}}+|{SPACE}?[^{SPACE}\p{{L}}\p{{N}}]+|{SPACE}"
)

_UNTRAINED: Json = json.loads(tokenizers.Tokenizer(BPE()).to_str())["model"]


@dataclass(frozen=True, slots=True)
class Model:
    """What training finds."""

    vocab: dict[str, int]
    merges: list[tuple[str, str]]
    """The earlier, the sooner it is applied."""


def normalizer_of(recipe: Recipe) -> tokenizers.normalizers.Normalizer | None:
    """The configuration's normaliser. Raises TokenizerError when it is none that `tokenizers` knows."""
    bare = {**_around(recipe, _UNTRAINED), "added_tokens": [], "post_processor": None}
    found: tokenizers.normalizers.Normalizer | None = _loaded(bare).normalizer
    return found


def train(texts: Iterable[list[str]], recipe: Recipe, alphabet: Alphabet | None) -> Model:
    """Train on texts; `alphabet` is that of a SentencePiece-style BPE, None for a byte-level one.

    Raises TokenizerError when the texts do not give as many tokens as were asked for.
    """
    bare = {**_around(recipe, _UNTRAINED), "added_tokens": [], "post_processor": None}
    shell = _loaded({**bare, "pre_tokenizer": _pre_tokenizer(recipe)})
    trainer = BpeTrainer(
        vocab_size=recipe.vocab_size,
        min_frequency=_LEAST_FREQUENCY,
        special_tokens=list(recipe.reserved),
        initial_alphabet=sorted(ByteLevel.alphabet()) if alphabet is None else list(alphabet.characters),
        max_token_length=None if alphabet is None else _LONGEST_PIECE,
        show_progress=False,
    )
    with panics_named("tokenizers"):
        shell.train_from_iterator(_trainable(texts, recipe, alphabet), trainer)
    model: Json = json.loads(shell.to_str())["model"]
    vocab: dict[str, int] = model["vocab"]
    if len(vocab) != recipe.vocab_size:
        raise TokenizerError(
            f"--vocab-size {recipe.vocab_size}: this text gives {len(vocab)} tokens; "
            f"{'take more samples' if len(vocab) < recipe.vocab_size else 'its alphabet alone takes these'}, "
            "or another --vocab-size"
        )
    merges = [(left, right) for left, right in model["merges"]]
    made = {left + right for left, right in merges}
    if clash := next((token for token in recipe.specials if token in made), None):
        raise TokenizerError(f"--special {clash!r}: the text makes this token, too; give it a name, such as <|name|>")
    return Model(vocab, merges if alphabet is None else _merges_of_pieces(vocab, recipe))


def as_json(model: Model, recipe: Recipe) -> bytes:
    """The tokenizer.json, as `tokenizers` itself writes it. Raises TokenizerError when it cannot be one."""
    byte_level = recipe.kind == "bpe"
    bpe = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None if byte_level else UNK,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": not byte_level,
        "byte_fallback": not byte_level,
        "ignore_merges": False,
        "vocab": model.vocab,
        "merges": model.merges,
    }
    text: str = _loaded(_around(recipe, bpe)).to_str(pretty=True)
    return text.encode() + b"\n"


def _around(recipe: Recipe, model: Json) -> Json:
    around = recipe.configuration
    ids = {token: number for number, token in enumerate(recipe.specials)}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": token, **flags, "special": True} for token, i in ids.items()],
        "normalizer": around.normalizer,
        "pre_tokenizer": around.pre_tokenizer,
        "post_processor": with_ids(around.post_processor, ids),
        "decoder": around.decoder,
        "model": model,
    }


def _loaded(config: Json) -> tokenizers.Tokenizer:
    try:
        with panics_named("tokenizers"):
            return tokenizers.Tokenizer.from_str(json.dumps(config))
    except Exception as error:  # the library raises bare Exception for any bad configuration
        raise TokenizerError(f"the configuration of the reference is none that tokenizers reads: {error}") from error


def _trainable(texts: Iterable[list[str]], recipe: Recipe, alphabet: Alphabet | None) -> Iterator[list[str]]:
    """The texts with a line's end for what no token may be made of: names of reserved tokens, else a text that often
    says `<s>` would make the special token out of it; and characters outside the alphabet."""
    apart = [re.compile("|".join(map(re.escape, sorted(recipe.reserved, key=len, reverse=True))))]
    if alphabet is not None:
        apart.append(alphabet.others)
    for batch in texts:
        for pattern in apart:
            batch = [pattern.sub("\n", text) for text in batch]
        yield batch


def _pre_tokenizer(recipe: Recipe) -> Json:
    """The configuration's; where that leaves texts whole, one that parts words, else tokens would reach across them."""
    own = recipe.configuration.pre_tokenizer
    words = {"type": "Split", "pattern": {"Regex": _WORDS}, "behavior": "Isolated", "invert": False}
    if own is None:
        return words
    if own["type"] == "Metaspace" and not own.get("split", True):
        return {"type": "Sequence", "pretokenizers": [own, words]}
    return own


def _merges_of_pieces(vocab: dict[str, int], recipe: Recipe) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, the pieces in order of their ids.

    SentencePiece knows no merges: it joins any two neighbours that make a piece. So its `.model` of these pieces, and
    other readers of it, give the same ids.
    """
    reserved = set(recipe.reserved)
    pieces = {piece: number for piece, number in vocab.items() if piece not in reserved}
    merges: list[tuple[str, str]] = []
    for piece in sorted(pieces, key=pieces.__getitem__):
        # Of several ways the one with the longest beginning first, as converters of SentencePiece models have it.
        merges += (
            (piece[:at], piece[at:])
            for at in range(len(piece) - 1, 0, -1)
            if piece[:at] in pieces and piece[at:] in pieces
        )
    return merges
