"""The text of shards, from their tokens: a table of what every id stands for, gathered for whole blocks at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shard.batch import TextBatch
from shard.errors import TokenizerError
from shard.formats.payload import Payload
from shard.runs import runs_of
from shard.signatures.words import words_of
from shard.tokenizer.checks import TRICKY
from shard.tokenizer.protocol import Reference

_BLOCK_TOKENS = 1 << 16
"""Of documents that become text together, about 300 KB, so that a core's caches hold what is made of them."""


@dataclass(frozen=True, slots=True)
class TokenBytes:
    """What ids stand for."""

    data: NDArray[np.uint8]
    """[bytes] of all ids back to back."""
    starts: NDArray[np.int64]
    """[ids] where each begins in `data`."""
    lengths: NDArray[np.int64]
    """[ids] in bytes."""
    frame: tuple[int, int]
    """Tokens before and after the text of every document: 0 or 1 each."""

    def texts(self, payload: Payload) -> Iterator[TextBatch]:
        """The text of every document of a block, some documents at a time, without what frames them."""
        for start, end in runs_of(payload.offsets, _BLOCK_TOKENS):
            yield self._text(payload.tokens, payload.offsets[start : end + 1])

    def _text(self, tokens: NDArray[np.uint16 | np.uint32], offsets: NDArray[np.int64]) -> TextBatch:
        ids = tokens[offsets[0] : offsets[-1]]
        offsets = offsets - offsets[0]
        # [tokens] int64
        lengths = self.lengths[ids]
        before, after = self.frame
        some = np.diff(offsets) > 0
        if before:
            lengths[offsets[:-1][some]] = 0
        if after:
            lengths[offsets[1:][some] - 1] = 0
        # [tokens + 1] int64: where each token's bytes begin in the text
        ends = np.concatenate(([0], np.cumsum(lengths)))
        places = np.arange(ends[-1]) + np.repeat(self.starts[ids] - ends[:-1], lengths)
        documents = len(offsets) - 1
        return TextBatch(data=self.data[places], offsets=ends[offsets], rows=documents, dropped={})


def token_bytes_of(reference: Reference, vocab_size: int, frame: tuple[int, int]) -> TokenBytes:
    """The table of a tokenizer.

    Raises TokenizerError for one that changes more of a text than normalisation does: what it was is lost then.
    """
    lost = f"{reference.name}: the text of these shards cannot be had back:"
    instead = "Only a launch with --signatures, into other directories, makes them: of the text, before it is tokenized"
    try:
        found = reference.token_bytes()
    except TokenizerError as error:
        raise TokenizerError(f"{lost} {error}. {instead}") from error
    size = max(vocab_size, max(found) + 1)
    for text in TRICKY:
        back = b"".join(found[token] for token in reference.encode(text.encode()))
        if _normal(back) != _normal(text.encode()):
            raise TokenizerError(f"{lost} {text[:40]!r} comes back as {back[:60]!r}. {instead}")
    lengths = np.zeros(size, dtype=np.int64)
    for token, data in found.items():
        lengths[token] = len(data)
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    joined = b"".join(found[token] for token in sorted(found))
    return TokenBytes(np.frombuffer(joined, dtype=np.uint8), starts, lengths, frame)


def _normal(text: bytes) -> bytes:
    # SentencePiece has one sign for the space and for U+2581, and no text is another for that.
    data = np.frombuffer(text.replace(b"\xe2\x96\x81", b" "), dtype=np.uint8)
    batch = TextBatch(data=data, offsets=np.array([0, len(data)]), rows=1, dropped={})
    return bytes(words_of(batch).text(0))
