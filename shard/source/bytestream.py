"""The bytes of one file in order, decompressed on the way; from this machine or from a network alike."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa

from shard.errors import SourceReadError
from shard.records.inputs import Compression
from shard.source.spanfile import SpanFile


class ByteStream:
    """Reads forwards. Arrow's own decompressors read joined members and frames, and notice a file that is cut short."""

    def __init__(
        self, source: Path | SpanFile, stack: ExitStack, *, where: str, compression: Compression | None = None
    ) -> None:
        """Closed with `stack`. Raises SourceReadError when the file cannot be opened."""
        self._where = where
        self._position = 0
        self._stream: Any = source
        if isinstance(source, Path):
            try:
                self._stream = stack.enter_context(source.open("rb", buffering=0))
            except OSError as error:
                raise SourceReadError(f"{where}: {error}") from error
        if compression is not None:
            self._stream = pa.CompressedInputStream(pa.PythonFile(self._stream, mode="r"), compression)

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end.

        Raises SourceReadError when they are damaged, cut short or not to be had.
        """
        try:
            data: bytes = self._stream.read(size)
        except (OSError, pa.ArrowException) as error:
            remedy = "; compress it again without --long" if "too much memory" in str(error) else ""
            raise SourceReadError(f"{self._where}: after {self._position} bytes: {error}{remedy}") from error
        self._position += len(data)
        return data

    def seek(self, position: int) -> None:
        """Of a file that is not compressed."""
        self._stream.seek(position)
        self._position = position
