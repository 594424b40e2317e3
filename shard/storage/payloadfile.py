"""A payload on its way to the disk under a temporary name: raw, or compressed frame by frame beside the writer."""

import hashlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shard.formats.frames import Codec
from shard.formats.seekable import seek_table
from shard.records.shards import Compressed
from shard.storage.disk import disk_full_named


class PayloadFile(Protocol):
    """Takes tokens in order."""

    temporary: Path

    def write(self, tokens: NDArray[Any]) -> None:
        """Append tokens. Raises DiskFullError."""

    def finish(self) -> Compressed | None:
        """Write what is left, and sync. Returns what the record says of a compressed file, None for a raw one."""

    def discard(self) -> None:
        """Close and remove it, unless it has been renamed."""


class _Open:
    """A file under its temporary name."""

    def __init__(self, temporary: Path) -> None:
        self.temporary = temporary
        with disk_full_named(temporary):
            self._descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def discard(self) -> None:
        """Close and remove it, unless it has been renamed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.temporary.unlink(missing_ok=True)

    def _append(self, data: memoryview) -> None:
        with disk_full_named(self.temporary):
            while data:
                data = data[os.write(self._descriptor, data) :]

    def _sync_and_close(self) -> int:
        size = os.fstat(self._descriptor).st_size
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        return size


class RawFile(_Open):
    """The tokens as they are."""

    def write(self, tokens: NDArray[Any]) -> None:
        self._append(tokens.data.cast("B"))

    def finish(self) -> None:
        self._sync_and_close()


class FramedFile(_Open):
    """Frames of a fixed number of tokens, then the seek table.

    Frames are encoded by `executor`, at most `ahead` + 1 of them at once, and written in their order; without one they
    are encoded here. Either way the same bytes.
    """

    def __init__(self, temporary: Path, codec: Codec, executor: Executor | None, *, ahead: int = 1) -> None:
        super().__init__(temporary)
        self._codec = codec
        self._submit: Callable[..., Future[tuple[bytes, int]]] = _now if executor is None else executor.submit
        self._ahead = ahead if executor is not None else 0
        self._frame = np.empty(codec.frame_tokens, dtype=codec.dtype)
        self._filled = 0
        self._encoding: deque[Future[tuple[bytes, int]]] = deque()
        self._sizes: list[tuple[int, int]] = []
        self._digest = hashlib.sha256()

    def write(self, tokens: NDArray[Any]) -> None:
        while len(tokens):
            taken = tokens[: len(self._frame) - self._filled]
            self._frame[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            tokens = tokens[len(taken) :]
            if self._filled == len(self._frame):
                self._encode()

    def finish(self) -> Compressed:
        if self._filled:
            self._encode()
        while self._encoding:
            self._take_one()
        self._put(seek_table(self._sizes))
        return Compressed(bytes=self._sync_and_close(), sha256=self._digest.hexdigest())

    def _encode(self) -> None:
        self._encoding.append(self._submit(self._codec.encode, self._frame[: self._filled].copy()))
        self._filled = 0
        while len(self._encoding) > self._ahead:
            self._take_one()

    def _take_one(self) -> None:
        frame, size = self._encoding.popleft().result()
        self._sizes.append((len(frame), size))
        self._put(frame)

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._append(memoryview(data))


def _now(encode: Callable[[NDArray[Any]], tuple[bytes, int]], tokens: NDArray[Any]) -> Future[tuple[bytes, int]]:
    done: Future[tuple[bytes, int]] = Future()
    done.set_result(encode(tokens))
    return done
