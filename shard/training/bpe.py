"""Texts → vocabulary and merges, by the trainer of `tokenizers`; and the tokenizer.json around them.

That trainer gives the same result for the same texts as long as the alphabet is given: when it limits the alphabet by
itself, characters of equal frequency are kept or left by chance.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import tokenizers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from shard.errors import TokenizerError
from shard.tokenizer.panics import panics_named
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


def train(texts: Iterable[list[str]], recipe: Recipe, alphabet: Sequence[str]) -> Model:
    """Train on texts; `alphabet` is that of a SentencePiece-style BPE, empty for a byte-level one.

    Raises TokenizerError when the texts do not give as many tokens as were asked for.
    """
    byte_level = recipe.kind == "bpe"
    bare = {**_around(recipe, _UNTRAINED), "added_tokens": [], "post_processor": None}
    shell = _loaded({**bare, "pre_tokenizer": _pre_tokenizer(recipe, alphabet)})
    trainer = BpeTrainer(
        vocab_size=recipe.vocab_size,
        min_frequency=_LEAST_FREQUENCY,
        special_tokens=list(recipe.reserved),
        initial_alphabet=sorted(ByteLevel.alphabet()) if byte_level else list(alphabet),
        max_token_length=None if byte_level else _LONGEST_PIECE,
        show_progress=False,
    )
    with panics_named("tokenizers"):
        shell.train_from_iterator(texts, trainer)
    model: Json = json.loads(shell.to_str())["model"]
    vocab: dict[str, int] = model["vocab"]
    if len(vocab) != recipe.vocab_size:
        raise TokenizerError(
            f"--vocab-size {recipe.vocab_size}: this text gives {len(vocab)} tokens; "
            f"{'take more samples' if len(vocab) < recipe.vocab_size else 'its alphabet alone takes these'}, "
            "or another --vocab-size"
        )
    merges = [(left, right) for left, right in model["merges"]]
    return Model(vocab, merges if byte_level else _merges_of_pieces(vocab, recipe))


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


def _pre_tokenizer(recipe: Recipe, alphabet: Sequence[str]) -> Json:
    """The configuration's, after what no token may be made of is taken out: names of reserved tokens, else a text that
    often says `<s>` would make the special token out of it; and characters outside the alphabet."""
    apart = "|".join(map(re.escape, sorted(recipe.reserved, key=len, reverse=True)))
    if alphabet:
        apart += f"|[^{''.join(_ranges(alphabet))}]+"
    steps = [{"type": "Split", "pattern": {"Regex": apart}, "behavior": "Removed", "invert": False}]
    own = recipe.configuration.pre_tokenizer
    if own is not None:
        steps.append(own)
    if own is None or (own["type"] == "Metaspace" and not own.get("split", True)):
        # One that does not split leaves whole texts, where tokens would be made across words.
        steps.append({"type": "Split", "pattern": {"Regex": _WORDS}, "behavior": "Isolated", "invert": False})
    return {"type": "Sequence", "pretokenizers": steps}


def _ranges(alphabet: Sequence[str]) -> Iterator[str]:
    """The alphabet, and the space that becomes SPACE, for the inside of a character class."""
    points = sorted({ord(" "), *map(ord, alphabet)})
    starts = [points[0], *(after for before, after in pairwise(points) if after != before + 1)]
    ends = [*(before for before, after in pairwise(points) if after != before + 1), points[-1]]
    return (rf"\x{{{start:x}}}-\x{{{end:x}}}" for start, end in zip(starts, ends, strict=True))


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
