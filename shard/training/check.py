"""Is what was trained right? Asked over held-out documents and tricky strings, before it appears."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from shard.errors import TokenizerError
from shard.records.job import TokenizerSpec
from shard.tokenizer.checks import TRICKY
from shard.tokenizer.hf import HfReference
from shard.tokenizer.load import load_tokenizer
from shard.tokenizer.spm import SentencePieceReference
from shard.training.recipe import SPACE, UNK, Json, has, objects

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found."""

    documents: int
    """Held out, all of which come back from their tokens."""
    exactly: int
    """Of those, how many to the last character; the others are as the normaliser makes any text."""
    compared_with: str
    """What else reads the directory, and gives the same ids."""
    slow_because: str | None
    """Why a run will take the slow engine; None where the fast one takes it."""


def check(directory: Path, data: bytes, held_out: Sequence[str]) -> Checked:
    """Check the tokenizer in a directory, whose tokenizer.json is `data`. Raises TokenizerError."""
    reference = HfReference(data, origin="what was trained")
    whole = tokenizers.Tokenizer.from_str(data.decode())
    equal = _equal(whole, json.loads(data))
    exactly = 0
    for number, text in enumerate((*held_out, *TRICKY)):
        came_back = _round_trip(reference, text, equal)
        exactly += number < len(held_out) and came_back == text
    other, ids_of = _other_reader(directory)
    _compare(other, ids_of, lambda text: list(whole.encode(text).ids), held_out)
    spec = _spec(directory / "tokenizer.json", reference.vocab_size)
    return Checked(len(held_out), exactly, other, load_tokenizer(spec, directory).slow_because)


def check_model(directory: Path, data: bytes, held_out: Sequence[str]) -> None:
    """Compare the directory's tokenizer.model with its tokenizer.json, `data`. Raises TokenizerError."""
    reference = HfReference(data, origin="what was trained")
    model = SentencePieceReference((directory / "tokenizer.model").read_bytes(), origin="tokenizer.model")
    texts = (*held_out, *TRICKY)
    _compare("its .model", lambda text: model.encode(text.encode()), lambda t: reference.encode(t.encode()), texts)


def _equal(whole: tokenizers.Tokenizer, config: Json) -> Callable[[str, str], bool]:
    """Whether (what came back, the text) are one text to this tokenizer."""
    normalize: Callable[[str], str] = whole.normalizer.normalize_str if whole.normalizer is not None else str
    # These set a space before a text, but only where there is none.
    prefixed = any(
        part.get("type") == "Metaspace" or part.get("add_prefix_space") for part in objects(config["pre_tokenizer"])
    )
    strip = " " if prefixed else ""
    if has(config["decoder"], "ByteLevel"):
        return lambda came_back, text: normalize(came_back).lstrip(strip) == normalize(text).lstrip(strip)

    def equal(came_back: str, text: str) -> bool:
        # A text may say ▁ itself, and gets back a space; none that was a space may come back as ▁.
        meant = normalize(text.replace(SPACE, " "))
        return SPACE not in came_back and normalize(came_back).lstrip(strip) == meant.lstrip(strip)

    return equal


def _round_trip(reference: HfReference, text: str, equal: Callable[[str, str], bool]) -> str:
    ids = reference.encode(text.encode())
    if reference.token_id(UNK) in ids:
        raise TokenizerError(f"what was trained makes {UNK} of {text[:_SHOWN]!r}…; nothing was written")
    came_back = reference.decode(ids)
    if came_back != text and not equal(came_back, text):
        raise TokenizerError(
            f"what was trained gives back {came_back[:_SHOWN]!r}… for {text[:_SHOWN]!r}…; nothing was written. Decoder "
            "and normaliser of the reference do not fit each other: take another --reference"
        )
    return came_back


def _compare(
    name: str, theirs: Callable[[str], list[int]], ours: Callable[[str], list[int]], texts: Iterable[str]
) -> None:
    for text in texts:
        if theirs(text) != ours(text):
            raise TokenizerError(f"{name} gives other ids than was trained for {text[:_SHOWN]!r}…; nothing was written")


def _other_reader(directory: Path) -> tuple[str, Callable[[str], list[int]]]:
    """What reads a directory as its users will: transformers where it is installed."""
    try:
        import transformers
    except ImportError:
        tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
        return f"tokenizers {tokenizers.__version__}", lambda text: list(tokenizer.encode(text).ids)
    try:
        automatic = transformers.AutoTokenizer.from_pretrained(str(directory))
    except Exception as error:  # whatever it stumbles over
        raise TokenizerError(
            f"transformers {transformers.__version__} cannot read what was trained: {error}"
        ) from error
    return f"transformers {transformers.__version__}", lambda text: list(automatic(text)["input_ids"])


def _spec(path: Path, vocab_size: int) -> TokenizerSpec:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return TokenizerSpec(
        name="what was trained", kind="hf", vocab_size=vocab_size, eod_id=None, sha256=digest, file=path.name
    )
