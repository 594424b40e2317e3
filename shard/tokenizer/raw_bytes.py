"""Bytes as tokens: ids 0 to 255 are the UTF-8 bytes, 256 is the end of a document."""

from collections.abc import Sequence

import numpy as np

from shard.batch import TextBatch, TokenBatch

VOCAB_SIZE = 257
EOD_ID = 256


class ByteEngine:
    """The identity, widened."""

    name = "bytes"

    def encode(self, batch: TextBatch) -> TokenBatch:
        return TokenBatch(tokens=batch.data.astype(np.uint32), offsets=batch.offsets)


class ByteReference:
    """The identity, spelled out."""

    name = "bytes"

    def encode(self, document: bytes) -> list[int]:
        return list(document)

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i for i in ids if i < EOD_ID).decode("utf-8", errors="replace")

    def token_bytes(self) -> dict[int, bytes]:
        return {i: bytes((i,)) for i in range(EOD_ID)} | {EOD_ID: b""}
