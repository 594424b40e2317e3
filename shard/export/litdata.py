"""Lightning litdata, for TokensLoader: `train/` and `val/` with `index.json` and `chunk-0-0.bin`, …

An item is a document, as its bare tokens; the loader cuts blocks from all of a chunk in a row, and drops what is left
of each chunk. Source: litdata.streaming.item_loader and writer, https://github.com/Lightning-AI/litdata.
"""

import json
from pathlib import Path

from shard.export import offsets
from shard.export.options import ExportOptions, require_no_context_length, short_name
from shard.export.samples import documents
from shard.formats.payload import DTYPES
from shard.storage.stored import Stored

_USUAL_BYTES = 64_000_000
_FORMATS = {"uint16": "no_header_numpy:5", "uint32": "no_header_numpy:6"}
_LEAF = json.dumps([1, {"type": None, "context": None, "children_spec": []}])


def write(stored: Stored, out: Path, options: ExportOptions) -> int:
    require_no_context_length(options, "litdata", "give TokensLoader a block_size")
    dtype = DTYPES[stored.record.dtype]
    most = min(offsets.MOST_BYTES, (options.shard_tokens or _USUAL_BYTES // dtype.itemsize) * dtype.itemsize)
    directory = out / short_name(stored.record.split)
    directory.mkdir()
    items = (tokens.tobytes() for tokens in documents(stored))
    chunks = [
        {
            "chunk_bytes": size,
            "chunk_size": len(held),
            "dim": sum(map(len, held)) // dtype.itemsize,
            "filename": path.name,
        }
        for path, held, size in offsets.in_files(items, most, lambda n: directory / f"chunk-0-{n}.bin")
    ]
    config = {
        "chunk_bytes": most,
        "chunk_size": None,
        "compression": None,
        "data_format": [_FORMATS[stored.record.dtype]],
        "data_spec": _LEAF,
        "encryption": None,
        "item_loader": "TokensLoader",
    }
    # The time would make equal exports differ.
    index = {"chunks": chunks, "config": config, "updated_at": "0"}
    (directory / "index.json").write_text(json.dumps(index, sort_keys=True))
    return 0
