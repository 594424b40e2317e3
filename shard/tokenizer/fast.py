"""gigatoken over Arrow buffers: the fast engine. Every other engine is the reference in a loop."""

from tempfile import NamedTemporaryFile

import awkward as ak
import gigatoken
import numpy as np
from awkward.contents import ListOffsetArray, NumpyArray
from awkward.index import Index64
from gigatoken._load.sentencepiece import sentencepiece_to_tokenizer_json
from gigatoken.gigatoken_rs import BPETokenizer, SentencePieceTokenizer, load_hf_json

from shard.batch import TextBatch, TokenBatch
from shard.tokenizer.panics import panics_named
from shard.tokenizer.protocol import Reference
from shard.tokenizer.ranks import without_gaps


def as_tokenizer_json(model: bytes) -> bytes:
    """A SentencePiece `.model` as a tokenizer.json. Raises ValueError for one that is not BPE with byte fallback."""
    # Not Tokenizer.from_sentencepiece, which would take the text of control symbols for the symbols.
    return sentencepiece_to_tokenizer_json(model).encode()


class GigatokenEngine:
    """gigatoken's backend, one thread: ranks are the parallelism."""

    name = "gigatoken"

    def __init__(self, backend: BPETokenizer | SentencePieceTokenizer) -> None:
        self._backend = backend

    @classmethod
    def from_ranks(cls, data: bytes, pretokenizer: str) -> "GigatokenEngine":
        """The engine for the content of a rank file."""
        with NamedTemporaryFile(suffix=".tiktoken") as file, panics_named("gigatoken"):
            file.write(without_gaps(data))
            file.flush()
            # An empty table of special tokens keeps their text literal.
            return cls(gigatoken.Tokenizer.from_tiktoken(file.name, pretokenizer, {}).backend)

    @classmethod
    def from_tokenizer_json(cls, data: bytes) -> "GigatokenEngine":
        """The engine for the content of a `tokenizer.json`; see without_special_tokens."""
        with panics_named("gigatoken"):
            return cls(load_hf_json(data))

    def encode(self, batch: TextBatch) -> TokenBatch:
        # gigatoken takes awkward arrays of exactly this layout without a copy, and refuses others.
        characters = NumpyArray(batch.data, parameters={"__array__": "char"})
        layout = ListOffsetArray(Index64(batch.pieces), characters, parameters={"__array__": "string"})
        with panics_named("gigatoken"):
            encoded = self._backend.encode_batch(ak.Array(layout), parallel=False).layout
        return batch.tokens_of_pieces(np.asarray(encoded.content.data), np.asarray(encoded.offsets.data))


class ReferenceEngine:
    """The reference, one text after the other: slow, for tokenizers that the fast engine cannot take."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self.name = reference.name

    def encode(self, batch: TextBatch) -> TokenBatch:
        ids = [self._reference.encode(bytes(piece)) for i in range(batch.documents) for piece in batch.pieces_of(i)]
        offsets = np.zeros(len(ids) + 1, dtype=np.int64)
        np.cumsum([len(piece) for piece in ids], out=offsets[1:])
        # [tokens] uint32
        tokens = np.fromiter((i for piece in ids for i in piece), dtype=np.uint32, count=int(offsets[-1]))
        return batch.tokens_of_pieces(tokens, offsets)
