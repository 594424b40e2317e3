"""Tokens ⇄ zstd frames of frequency ranks: the coding of a compressed payload (`.zst`).

Content of a frame of n tokens: n uint16 ranks, EXCEPTION for ids that have none; then those ids, uint32, in order.
Each frame is a zstd frame of its own, with content size and checksum; `seekable.py` says what ends the file.
"""

import threading
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from shard.errors import VerificationError
from shard.formats.payload import DTYPES
from shard.formats.ranks import EXCEPTION, RankTable
from shard.records.compression import Compression

_MIN_MATCH = 4
"""Bytes: two tokens. zstd itself takes longer ones at most levels, as suits text; tokens are two bytes wide."""


class Codec:
    """One way of coding, for as many threads as like."""

    def __init__(self, compression: Compression, table: RankTable, dtype: str) -> None:
        self._made_of = compression, table, dtype
        self.frame_tokens = compression.frame_tokens
        self.dtype = DTYPES[dtype]
        self._table = table
        self._level = compression.level
        self._local = threading.local()  # neither compressors nor decompressors may be shared

    def __reduce__(self) -> tuple[type["Codec"], tuple[Compression, RankTable, str]]:
        """Other processes make their own compressors."""
        return Codec, self._made_of

    def encode(self, tokens: NDArray[Any]) -> tuple[bytes, int]:
        """(frame, bytes of its content) of at most `frame_tokens` tokens."""
        # [tokens] uint16
        ranks = self._table.rank_of[tokens]
        exceptions = tokens[ranks == EXCEPTION].astype("<u4")
        content = b"".join((ranks.astype("<u2", copy=False).data, exceptions.data))
        return self._compressor(len(tokens)).compress(content), len(content)

    def decode(self, frame: bytes, count: int) -> NDArray[Any]:
        """[count] the tokens of a frame. Raises VerificationError, without a file name, when it is damaged."""
        try:
            size = zstandard.get_frame_parameters(frame).content_size
            if not 2 * count <= size <= 6 * count:  # before memory is given to what a damaged header says
                raise VerificationError(f"a frame of {size} bytes for {count} tokens")
            content = self._decompressor.decompress(frame, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise VerificationError(f"a frame cannot be decompressed: {error}") from error
        ranks = np.frombuffer(content, dtype="<u2", count=count)
        tokens = np.empty(count, dtype=self.dtype)
        np.take(self._table.id_of, ranks, out=tokens, mode="wrap")
        if (count and ranks.max() >= self._table.ranks) or len(content) != 2 * count:
            self._fill_in(tokens, ranks, np.frombuffer(content, dtype=np.uint8, offset=2 * count))
        return tokens

    def _fill_in(self, tokens: NDArray[Any], ranks: NDArray[np.uint16], rest: NDArray[np.uint8]) -> None:
        """Set the ids that have no rank, from the bytes behind the ranks."""
        without = np.flatnonzero(ranks == EXCEPTION)
        if np.count_nonzero(ranks >= self._table.ranks) != len(without):
            raise VerificationError("a rank has no id: the rank table is another")
        if len(rest) != 4 * len(without):
            raise VerificationError(f"{len(rest)} bytes of exceptions for {len(without)} of them")
        ids = rest.view("<u4")
        if len(ids) and ids.max() >= len(self._table.rank_of):
            raise VerificationError(f"an exception is id {ids.max()}, outside the vocabulary")
        tokens[without] = ids

    def _compressor(self, tokens: int) -> zstandard.ZstdCompressor:
        kept: tuple[int, zstandard.ZstdCompressor] | None = getattr(self._local, "compressor", None)
        if kept is None or kept[0] != tokens:
            parameters = zstandard.ZstdCompressionParameters.from_level(
                self._level,
                source_size=2 * tokens,
                min_match=_MIN_MATCH,
                write_content_size=True,
                write_checksum=True,
            )
            kept = self._local.compressor = tokens, zstandard.ZstdCompressor(compression_params=parameters)
        return kept[1]

    @property
    def _decompressor(self) -> zstandard.ZstdDecompressor:
        kept: zstandard.ZstdDecompressor | None = getattr(self._local, "decompressor", None)
        if kept is None:
            kept = self._local.decompressor = zstandard.ZstdDecompressor()
        return kept
