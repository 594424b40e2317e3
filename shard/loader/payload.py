"""The payload of one shard, read at any place: `open_payload` chooses how."""

import os
import time
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from shard.errors import ShardChangedError, VerificationError
from shard.formats.frames import Codec
from shard.storage.framereader import FrameReader
from shard.storage.stored import StoredShard

CHECK_SECONDS = 1.0
"""A file is looked at again when the last look is older: a deleted one would be read on for as long as it is open."""

_REMEDY = "run 'shardfleet verify', write it again with the command that wrote it, and resume"


class PayloadReader(Protocol):
    """Tokens of one shard by their places in it."""

    def read(self, start: int, out: NDArray[Any]) -> None:
        """Fill `out`, [n] of the payload's dtype, with tokens [start, start + n). Raises ShardChangedError."""

    def will_need(self, start: int, count: int) -> None:
        """Begin to bring these tokens into memory."""

    def check(self) -> None:
        """Raise ShardChangedError when the file is no longer the one that was opened."""

    def close(self) -> None: ...


def open_payload(shard: StoredShard) -> PayloadReader:
    """The reader for what the shard's payload is written as. Raises ShardChangedError."""
    return RawPayload(shard) if shard.codec is None else FramedPayload(shard, shard.codec)


class RawPayload:
    """A `.bin` file: nothing but tokens."""

    def __init__(self, shard: StoredShard) -> None:
        self._file = WatchedFile(shard.payload, shard.record.stored_bytes)
        self._itemsize = 2 if shard.dtype == "uint16" else 4

    def read(self, start: int, out: NDArray[Any]) -> None:
        wanted, place = out.nbytes, start * self._itemsize
        try:
            count = os.preadv(self._file.descriptor, (out.data,), place)
            if count != wanted:
                self._read_on(out.data.cast("B"), count, place)
        except OSError as error:
            raise ShardChangedError(f"{self._file.path}: cannot be read: {error.strerror}; {_REMEDY}") from error

    def _read_on(self, out: memoryview, done: int, place: int) -> None:
        """The rest, when the system gave less than was asked for."""
        while done < len(out):
            count = os.preadv(self._file.descriptor, (out[done:],), place + done)
            if count == 0:
                raise ShardChangedError(
                    f"{self._file.path}: ends at byte {place + done}, its record says {self._file.size}: it was cut "
                    f"short under the loader; {_REMEDY}"
                )
            done += count

    def will_need(self, start: int, count: int) -> None:
        os.posix_fadvise(self._file.descriptor, start * self._itemsize, count * self._itemsize, os.POSIX_FADV_WILLNEED)

    def check(self) -> None:
        self._file.check()

    def close(self) -> None:
        self._file.close()


class FramedPayload:
    """A `.zst` file: frames of tokens, decoded whole. The last one is kept, so ranges are best read in order."""

    def __init__(self, shard: StoredShard, codec: Codec) -> None:
        self._file = WatchedFile(shard.payload, shard.record.stored_bytes)
        try:
            self._frames = FrameReader(shard.payload, codec, shard.record.tokens, cached=1)
        except VerificationError as error:
            self._file.close()
            raise _damaged(error) from error

    def read(self, start: int, out: NDArray[Any]) -> None:
        try:
            out[:] = self._frames.read_tokens(start, start + len(out))
        except VerificationError as error:
            raise _damaged(error) from error

    def will_need(self, start: int, count: int) -> None:
        first, last = self._frames.stored_range(start, start + count)
        os.posix_fadvise(self._file.descriptor, first, last - first, os.POSIX_FADV_WILLNEED)

    def check(self) -> None:
        self._file.check()

    def close(self) -> None:
        self._frames.close()
        self._file.close()


def _damaged(error: VerificationError) -> ShardChangedError:
    return ShardChangedError(f"{error}; {_REMEDY}")


class WatchedFile:
    """A file open for reading at places, and whether its name still leads to it."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.descriptor = -1
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._opened = os.fstat(self.descriptor)
            # No reading ahead of its own: samples lie anywhere.
            os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        except FileNotFoundError as error:
            raise ShardChangedError(
                f"{path}: missing; its record says that it is there: run 'shardfleet verify', and write it again"
            ) from error
        if self._opened.st_size != size:
            self.close()
            raise ShardChangedError(
                f"{path}: {self._opened.st_size} bytes, its record says {size}: run 'shardfleet verify', and write it "
                "again"
            )
        self._looked = time.monotonic()

    def check(self) -> None:
        """Raises ShardChangedError; looks once a second."""
        now = time.monotonic()
        if now - self._looked < CHECK_SECONDS:
            return
        try:
            found = self.path.stat()
        except OSError as error:
            what = "deleted under the loader" if isinstance(error, FileNotFoundError) else f"gone: {error.strerror}"
            raise ShardChangedError(f"{self.path}: {what}; {_REMEDY}") from error
        opened = self._opened
        if (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) != (
            *(opened.st_dev, opened.st_ino, opened.st_size, opened.st_mtime_ns),
        ):
            what = f"{found.st_size} bytes instead of {self.size}" if found.st_size != self.size else "another file"
            raise ShardChangedError(
                f"{self.path}: replaced under the loader ({what}); start again, or resume when 'shardfleet verify' is "
                "content with it"
            )
        self._looked = now

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
