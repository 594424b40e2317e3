"""Megatron: all shards of a split as one pair, `<split>_text_document.bin` and `.idx`, or under another prefix.

Layout of the index: shard/formats/megatron.py. Its three arrays are written side by side as the documents come by, so
that memory does not grow with their number.
"""

from pathlib import Path

import numpy as np

from shard.export.options import ExportOptions, require_no_context_length, require_no_shard_size, short_name
from shard.formats.megatron import index_header
from shard.formats.payload import DTYPES
from shard.records.shards import Split
from shard.storage.stored import Stored


def write(stored: Stored, out: Path, options: ExportOptions) -> int:
    require_no_context_length(options, "megatron", "GPTDataset cuts them")
    require_no_shard_size(options, "megatron", "is one pair per split")
    base = out / _prefix(stored.record.split, options.name)
    header = index_header(stored.documents, stored.record.dtype)
    itemsize = DTYPES[stored.record.dtype].itemsize
    lengths_at = len(header)
    offsets_at = lengths_at + 4 * stored.documents
    documents_at = offsets_at + 8 * stored.documents
    document = position = 0
    with base.with_suffix(".bin").open("wb") as payload, base.with_suffix(".idx").open("wb") as index:
        index.write(header)
        for block in stored.blocks():
            payload.write(block.tokens.data)
            # [documents of the block]
            lengths = np.diff(block.offsets)
            index.seek(lengths_at + 4 * document)
            index.write(lengths.astype("<i4").tobytes())
            index.seek(offsets_at + 8 * document)
            index.write((position + block.offsets[:-1] * itemsize).astype("<i8").tobytes())
            index.seek(documents_at + 8 * document)
            index.write(np.arange(document, document + len(lengths), dtype="<i8").tobytes())
            document += len(lengths)
            position += block.tokens.nbytes
        index.seek(documents_at + 8 * document)
        index.write(np.array([document], dtype="<i8").tobytes())
    return 0


def _prefix(split: Split, name: str | None) -> str:
    """What trainers are given. With a name, the pair of train is called just that, as Megatron's own tools have it."""
    if name is None:
        return f"{short_name(split)}_text_document"
    return name if split == "train" else f"{name}_{short_name(split)}"
