"""What the pipeline needs of a tokenizer.

Two roles: an engine encodes whole batches fast; a reference defines what is right, one document at a time, and is
asked about a sample of every unit before it is committed.
"""

from collections.abc import Sequence
from typing import Protocol

from shard.batch import TextBatch, TokenBatch


class Engine(Protocol):
    """Encodes batches."""

    name: str

    def encode(self, batch: TextBatch) -> TokenBatch:
        """Ids of every document, each of its `pieces` encoded by itself; text of special tokens is encoded as text."""


class Reference(Protocol):
    """Defines the encoding."""

    name: str

    def encode(self, document: bytes) -> list[int]:
        """Ids of one document of valid UTF-8; text of special tokens is encoded as text."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; bytes that are no UTF-8 become U+FFFD."""

    def token_bytes(self) -> dict[int, bytes]:
        """What every id stands for in a text, so that a document's bytes are those of its ids in a row.

        Empty for ids that are no text. Raises TokenizerError where ids alone do not say.
        """
