"""A tokenizer.json that encodes text alone: nothing is added, cut off or left to chance; text of special tokens is text
(pure)."""

import re
from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]

_BYTE = re.compile("<0x[0-9A-F]{2}>")


def without_special_tokens(config: Json) -> Json:
    """The same for an engine that would take special tokens out of a text: it has none."""
    kept = [token for token in config.get("added_tokens") or () if not token.get("special")]
    model = {**config["model"], "dropout": None} if "dropout" in config["model"] else config["model"]
    return {**config, "added_tokens": kept, "model": model, "post_processor": None, "truncation": None, "padding": None}


def model_of_text(model: Json, specials: Iterable[str]) -> Json:
    """A tokenizer.json's model in which text does not make the special tokens that it holds as pieces of its own.

    Where a model knows whole words, `</s>` between spaces would be one; and in a unigram model special tokens are the
    most probable of all. A single character, a BPE token that merges make, bytes that characters fall back to, and the
    one for what is unknown stay: they are what a text gives by itself.
    """
    names = {name for name in specials if len(name) > 1}
    if model.get("byte_fallback"):
        names = {name for name in names if not _BYTE.fullmatch(name)}
    match model["type"]:
        case "Unigram":
            # Ids are places in the list. No text has an empty piece.
            return {**model, "vocab": [["" if piece in names else piece, score] for piece, score in model["vocab"]]}
        case "BPE":
            names -= {part for pair in model["merges"] for part in (*pair, "".join(pair))}
    names -= {model.get("unk_token")}
    return {**model, "vocab": {piece: number for piece, number in model["vocab"].items() if piece not in names}}
