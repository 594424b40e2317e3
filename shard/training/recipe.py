"""What is to be trained: kind, size, special tokens, and the configuration around the model (pure)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from shard.errors import TokenizerError

Kind = Literal["bpe", "sentencepiece"]
Json = dict[str, Any]

UNK, BOS, EOS, PAD = ROLES = ("<unk>", "<s>", "</s>", "<pad>")
"""The special tokens with ids 0 to 3."""

BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""Tokens of single bytes, which stand for characters that are not in the vocabulary of a SentencePiece-style BPE."""

SPACE = "▁"
"""Stands for a space in the tokens of a SentencePiece-style BPE."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What stands around the model in a tokenizer.json, each as its JSON says it; None where there is none."""

    normalizer: Json | None
    pre_tokenizer: Json | None
    post_processor: Json | None
    decoder: Json | None


@dataclass(frozen=True, slots=True)
class Recipe:
    """See above. Raises TokenizerError for what cannot be trained."""

    kind: Kind
    configuration: Configuration
    vocab_size: int
    """Of the whole tokenizer, special tokens included."""
    more_specials: tuple[str, ...] = ()
    """Special tokens beside the four, from id 4 on."""

    def __post_init__(self) -> None:
        for token in self.more_specials:
            if not token.strip() or token in BYTES or self.specials.count(token) > 1:
                raise TokenizerError(f"--special {token!r}: empty, a byte's token, or there already")
            if len(token) == 1:
                raise TokenizerError(f"--special {token!r}: a character of texts; give it a name, such as <|{token}|>")
        if self.vocab_size <= (least := len(self.specials) + 256):
            raise TokenizerError(f"--vocab-size {self.vocab_size}: special tokens and bytes alone are {least}")

    @property
    def specials(self) -> tuple[str, ...]:
        """In order of their ids, from 0 on."""
        return (*ROLES, *self.more_specials)

    @property
    def reserved(self) -> tuple[str, ...]:
        """Tokens that no text is merged to, in order of their ids, from 0 on."""
        return self.specials if self.kind == "bpe" else (*self.specials, *BYTES)


_BYTE_LEVEL: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}

USUAL: Mapping[Kind, Configuration] = {
    # GPT-2's, and that of Llama 2.
    "bpe": Configuration(None, _BYTE_LEVEL, None, _BYTE_LEVEL),
    "sentencepiece": Configuration(
        normalizer={
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        pre_tokenizer=None,
        post_processor={
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": BOS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                {"SpecialToken": {"id": BOS, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": BOS, "type_id": 1}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {BOS: {"id": BOS, "ids": [1], "tokens": [BOS]}},
        },
        decoder={
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
    ),
}
"""Kind → its configuration where no reference gives another."""


def after(data: bytes, kind: Kind | None, *, origin: str) -> tuple[Kind, Configuration]:
    """The configuration of a reference, from its tokenizer.json, and the kind that it is for.

    `kind` is what the user asked for, if anything. Raises TokenizerError where the reference is of another.
    """
    try:
        config = json.loads(data)
        found = Configuration(*(config.get(part) for part in Configuration.__slots__))
    except (ValueError, AttributeError, RecursionError) as error:
        raise TokenizerError(f"{origin}: not a tokenizer.json: {error}") from error
    own: Kind = "bpe" if has(found.pre_tokenizer, "ByteLevel") else "sentencepiece"
    if kind not in (None, own):
        raise TokenizerError(
            f"{origin}: its configuration is for {'byte-level BPE' if own == 'bpe' else 'SentencePiece-style BPE'}; "
            f"leave out --kind {kind}, or take another --reference"
        )
    if own == "sentencepiece" and not has(found.decoder, "ByteFallback"):
        # Without it, characters outside the vocabulary would come back as the names of their bytes.
        others = [found.decoder] if found.decoder is not None else []
        decoder: Json = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, *others]}
        return own, Configuration(found.normalizer, found.pre_tokenizer, found.post_processor, decoder)
    return own, found


def with_ids(post_processor: Json | None, specials: Mapping[str, int], *, where: str = "the reference") -> Json | None:
    """The post-processor with the ids that its tokens have here. Raises TokenizerError where one has none."""
    try:
        return _with_ids(post_processor, specials, where)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise TokenizerError(f"{where} has a post-processor that is none: {type(error).__name__}: {error}") from error


def _with_ids(post_processor: Json | None, specials: Mapping[str, int], where: str) -> Json | None:
    if post_processor is None:
        return None

    def id_of(token: str) -> int:
        if token not in specials:
            raise TokenizerError(
                f"{where} sets {token!r} beside texts, which the new tokenizer lacks: add --special '{token}'"
            )
        return specials[token]

    made = dict(post_processor)
    match made.get("type"):
        case "Sequence":
            made["processors"] = [_with_ids(inner, specials, where) for inner in made["processors"]]
        case "TemplateProcessing":
            made["special_tokens"] = {
                name: {**token, "ids": [id_of(text) for text in token["tokens"]]}
                for name, token in made["special_tokens"].items()
            }
        case "BertProcessing" | "RobertaProcessing":
            made |= {role: [made[role][0], id_of(made[role][0])] for role in ("sep", "cls")}
        case "ByteLevel":
            pass
        case other:
            raise TokenizerError(f"{where} has a post-processor {other!r}, which cannot be given the new ids")
    return made


def has(part: object, kind: str) -> bool:
    """Whether a part of a configuration is of this type, or holds one that is."""
    return any(inner.get("type") == kind for inner in objects(part))


def objects(part: object) -> Iterator[Json]:
    """All objects within a part of a configuration, itself first."""
    if isinstance(part, dict):
        yield cast("Json", part)
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from objects(inner)
