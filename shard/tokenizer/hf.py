"""Hugging Face `tokenizer.json`: the `tokenizers` library as reference."""

import json
from collections.abc import Sequence
from typing import Any

import tokenizers
from tokenizers.models import BPE

from shard.errors import TokenizerError
from shard.tokenizer.panics import panics_named
from shard.tokenizer.textonly import model_of_text

_EOD_TOKENS = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<eod>",
    "</s>",
    "<eos>",
    "<|eos|>",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
)
"""Names of the end-of-document token in published tokenizers, the most specific first."""

_BOS_TOKENS = (
    "<|begin_of_text|>",
    "<|startoftext|>",
    "<|bos|>",
    "<bos>",
    "[BOS]",
    "<｜begin▁of▁sentence｜>",
    "<s>",
)
"""The same of what stands before a document."""


class HfReference:
    """`tokenizers.Tokenizer` with special tokens encoded as text and no template around documents."""

    def __init__(self, data: bytes, *, origin: str) -> None:
        try:
            with panics_named("tokenizers"):
                self._tokenizer = tokenizers.Tokenizer.from_str(data.decode("utf-8"))
        except Exception as error:  # the library raises bare Exception for any bad file
            raise TokenizerError(
                f"{origin}: not a tokenizer.json that tokenizers {tokenizers.__version__} reads: {error}"
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self._origin = origin
        self._leave_text_alone()
        self.name = f"tokenizers {tokenizers.__version__}"

    def _leave_text_alone(self) -> None:
        """See shard.tokenizer.textonly; a merge left to chance would give other ids every time."""
        if isinstance(self._tokenizer.model, BPE):
            self._tokenizer.model.dropout = None
            if not self._tokenizer.model.ignore_merges:
                return
        config: dict[str, Any] = json.loads(self._tokenizer.to_str())
        specials = [token["content"] for token in config["added_tokens"] if token["special"]]
        model = model_of_text(config["model"], specials)
        if model != config["model"]:
            bare = json.dumps({"version": config["version"], "model": model}, ensure_ascii=False)
            self._tokenizer.model = tokenizers.Tokenizer.from_str(bare).model

    @property
    def vocab_size(self) -> int:
        """One more than the largest id, added tokens included (gaps count)."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def token_id(self, token: str) -> int | None:
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def eod_id(self) -> int | None:
        """Id of the first well-known end-of-document token in the vocabulary."""
        return next((i for token in _EOD_TOKENS if (i := self.token_id(token)) is not None), None)

    def bos_id(self) -> int | None:
        """Id of the first well-known beginning-of-document token in the vocabulary."""
        return next((i for token in _BOS_TOKENS if (i := self.token_id(token)) is not None), None)

    def encode(self, document: bytes) -> list[int]:
        text = document.decode("utf-8")
        try:
            with panics_named("tokenizers"):
                encoding = self._tokenizer.encode(text, add_special_tokens=False)
        except Exception as error:  # bare Exception, too, as where a word is unknown and there is no token for that
            raise TokenizerError(
                f"{self._origin}: tokenizers {tokenizers.__version__} cannot encode {text[:60]!r}…: {error}"
            ) from error
        ids: list[int] = encoding.ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def token_bytes(self) -> dict[int, bytes]:
        config: dict[str, Any] = json.loads(self._tokenizer.to_str())
        if (config.get("decoder") or {}).get("type") != "ByteLevel":
            raise TokenizerError("its decoder is not byte-level: ids alone do not say which bytes they stand for")
        vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=False)
        found = {token: _spelled(text) for text, token in vocabulary.items()}
        for added in config["added_tokens"]:
            token, text = added["id"], added["content"]
            if not added["special"]:
                if added["lstrip"] or added["rstrip"]:
                    raise TokenizerError(f"its token {text!r} takes the spaces beside it")
                found[token] = text.encode()
            elif token not in self.encode(text.encode()):  # else merges make it, too: `!`, where that is for padding
                found[token] = b""
        return found


def _byte_level() -> dict[str, int]:
    """The character that stands for every byte in byte-level vocabularies: itself where it can be seen, else the next
    one from U+0100 on (GPT-2's table)."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + number): byte for number, byte in enumerate(hidden)}


_BYTES = _byte_level()


def _spelled(text: str) -> bytes:
    """The bytes of a byte-level token; none where a character stands for no byte, and no text is encoded to it."""
    return bytes(map(_BYTES.__getitem__, text)) if _BYTES.keys() >= set(text) else b""
