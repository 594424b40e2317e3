"""Reading a compressed payload: any range of tokens, or all of them in order."""

import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.errors import VerificationError
from shard.formats.frames import Codec
from shard.formats.seekable import FOOT_BYTES, frames_in, read_seek_table, table_size

CACHED_FRAMES = 4
"""Decoded frames that a reader keeps: 2 MB of uint16 at the default frame size."""


class FrameReader:
    """The tokens of one `.zst` file, for one thread. Errors are VerificationErrors that name the file."""

    def __init__(self, path: Path, codec: Codec, tokens: int, *, cached: int = CACHED_FRAMES) -> None:
        """`tokens` is what the record says; the file must agree."""
        self._path = path
        self._codec = codec
        self._tokens = tokens
        self._cached = max(1, cached)
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise VerificationError(f"{path}: {error.strerror}; its record says that it is there") from error
        try:
            # [frames + 1] int64: where each frame begins, and where the seek table does
            self._offsets = self._read_offsets()
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._kept.clear()

    def read_tokens(self, start: int, stop: int) -> NDArray[Any]:
        """[stop - start] tokens from `start` (inclusive) to `stop` (exclusive); not to be written to.

        Decodes the frames that hold them, unless they are among the last that were read.
        """
        if not 0 <= start <= stop <= self._tokens:
            raise ValueError(f"tokens {start} to {stop} of {self._tokens}")
        size = self._codec.frame_tokens
        if start == stop:
            return np.empty(0, dtype=self._codec.dtype)
        first, last = start // size, (stop - 1) // size
        if first == last:
            return self._frame(first)[start - first * size : stop - first * size]
        pieces = [self._frame(number) for number in range(first, last + 1)]
        pieces[0] = pieces[0][start - first * size :]
        pieces[-1] = pieces[-1][: stop - last * size]
        return np.concatenate(pieces)

    def stored_range(self, start: int, stop: int) -> tuple[int, int]:
        """[first, last) bytes of the file that hold tokens [start, stop)."""
        size = self._codec.frame_tokens
        return int(self._offsets[start // size]), int(self._offsets[min(-(-stop // size), len(self._offsets) - 1)])

    def frames(self) -> Iterator[NDArray[Any]]:
        """The tokens of every frame, in order; none of it is kept."""
        for number in range(len(self._offsets) - 1):
            yield self._decode(number, self._stored(number))

    def _frame(self, number: int) -> NDArray[Any]:
        found = self._kept.pop(number, None)
        if found is None:
            found = self._decode(number, self._stored(number))
            found.flags.writeable = False
            while len(self._kept) >= self._cached:
                self._kept.popitem(last=False)
        self._kept[number] = found
        return found

    def _stored(self, number: int) -> bytes:
        start, end = int(self._offsets[number]), int(self._offsets[number + 1])
        data = self._pread(end - start, start)
        if len(data) != end - start:
            raise VerificationError(f"{self._path}: ends within frame {number}")
        return data

    def _pread(self, size: int, offset: int) -> bytes:
        """As many bytes as there are, at most `size`."""
        pieces: list[bytes] = []
        try:
            while size and (piece := os.pread(self._descriptor, size, offset)):
                pieces.append(piece)
                size -= len(piece)
                offset += len(piece)
        except OSError as error:
            raise VerificationError(f"{self._path}: cannot be read: {error.strerror}") from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _decode(self, number: int, frame: bytes) -> NDArray[Any]:
        size = self._codec.frame_tokens
        try:
            return self._codec.decode(frame, min(size, self._tokens - number * size))
        except VerificationError as error:
            raise VerificationError(f"{self._path}: frame {number}: {error}") from error

    def _read_offsets(self) -> NDArray[np.int64]:
        size = os.fstat(self._descriptor).st_size
        wanted = -(-self._tokens // self._codec.frame_tokens)
        foot = self._pread(FOOT_BYTES, max(0, size - FOOT_BYTES))
        told = frames_in(foot) if len(foot) == FOOT_BYTES else None
        if told != wanted:
            found = "no seek table at its end" if told is None else f"a seek table of {told} frames"
            raise VerificationError(
                f"{self._path}: {found}; its record's {self._tokens} tokens make {wanted} of {self._codec.frame_tokens}"
            )
        begins = size - table_size(wanted)
        table = read_seek_table(self._pread(size, begins)) if begins >= 0 else None
        if table is None or table[:, 0].sum() != begins:
            raise VerificationError(f"{self._path}: its seek table does not fit its {size} bytes")
        return np.concatenate(([0], np.cumsum(table[:, 0])))
