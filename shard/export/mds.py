"""MosaicML Streaming: `train/` and `val/` with `index.json` and `shard.00000.mds`, …; the column is `tokens`.

With a context length every sample is that many tokens, which costs nothing beside them; else a sample is a document.
Source: streaming.base.format.mds, https://github.com/mosaicml/streaming.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from shard.export import offsets
from shard.export.options import ExportOptions, short_name
from shard.export.samples import documents, left_over, windows
from shard.formats.payload import DTYPES
from shard.storage.stored import Stored

_USUAL_BYTES = 1 << 26
_WIDTHS = (1, 2, 4, 8)


def write(stored: Stored, out: Path, options: ExportOptions) -> int:
    length = options.context_length
    dtype = stored.record.dtype
    itemsize = DTYPES[dtype].itemsize
    most = min(offsets.MOST_BYTES, (options.shard_tokens or _USUAL_BYTES // itemsize) * itemsize)
    config: dict[str, Any] = {
        "column_encodings": [f"ndarray:{dtype}" if length is None else f"ndarray:{dtype}:{length}"],
        "column_names": ["tokens"],
        "column_sizes": [None if length is None else length * itemsize],
        "compression": None,
        "format": "mds",
        "hashes": [],
        "size_limit": most,
        "version": 2,
    }
    directory = out / short_name(stored.record.split)
    directory.mkdir()
    header = json.dumps(config, sort_keys=True).encode()
    samples = _documents(stored) if length is None else _windows(stored, length)
    shards = [
        config
        | {
            "samples": len(held),
            "raw_data": {"basename": path.name, "bytes": size, "hashes": {}},
            "zip_data": None,
        }
        for path, held, size in offsets.in_files(samples, most, lambda n: directory / f"shard.{n:05d}.mds", header)
    ]
    (directory / "index.json").write_text(json.dumps({"version": 2, "shards": shards}, sort_keys=True))
    return left_over(stored, length)


def _windows(stored: Stored, length: int) -> Iterator[bytes]:
    return (row.tobytes() for rows in windows(stored, length) for row in rows)


def _documents(stored: Stored) -> Iterator[bytes]:
    for tokens in documents(stored):
        value = _shape(tokens) + tokens.tobytes()
        yield len(value).to_bytes(4, "little") + value


def _shape(tokens: NDArray[Any]) -> bytes:
    """One byte for the number of dimensions (1) and the width of what follows: the length."""
    code = next(i for i, width in enumerate(_WIDTHS) if len(tokens) < 1 << 8 * width)
    return bytes([4 + code]) + len(tokens).to_bytes(_WIDTHS[code], "little")
