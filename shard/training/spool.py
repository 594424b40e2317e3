"""A temporary file of texts, compressed, that can be read again and again: memory does not grow with it."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shard.batch import TextBatch

_SCHEMA = pa.schema({"text": pa.large_string()})


class Spool:
    """Written first, then read. The file has no name: it is gone when this is closed, however the process ends."""

    def __init__(self, directory: Path) -> None:
        self._file = TemporaryFile(dir=directory)  # noqa: SIM115  closed below
        self._writer = pa.ipc.new_stream(self._file, _SCHEMA, options=pa.ipc.IpcWriteOptions(compression="zstd"))

    def write(self, batch: TextBatch, documents: NDArray[np.int64]) -> int:
        """Add the documents with these numbers. Returns their bytes. Raises OSError."""
        buffers = [None, pa.py_buffer(batch.offsets), pa.py_buffer(batch.data)]
        texts = pa.Array.from_buffers(pa.large_string(), batch.documents, buffers).take(pa.array(documents))
        self._writer.write_batch(pa.record_batch([texts], schema=_SCHEMA))
        return int(np.diff(batch.offsets)[documents].sum())

    def read(self) -> Iterator[list[str]]:
        """The texts, in the order and batches in which they were written; nothing can be added afterwards."""
        self._writer.close()
        self._file.flush()
        self._file.seek(0)
        with pa.ipc.open_stream(self._file) as batches:
            for batch in batches:
                yield batch.column(0).to_pylist()

    def close(self) -> None:
        self._writer.close()
        self._file.close()
