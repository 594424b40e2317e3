"""datatrove and nanotron: `<stem>.ds` (the payload itself, by hard link), `.ds.index` and `.ds.metadata` beside it.

Index: uint64 ends of documents in tokens. Metadata: tokenizer|bytes per token, tokens, tokens for humans.
Source: datatrove.utils.dataset and datatrove.pipeline.tokens, https://github.com/huggingface/datatrove.
"""

from pathlib import Path

import numpy as np

from shard.errors import JobError
from shard.export.links import link_or_copy
from shard.export.options import ExportOptions, require_no_context_length, require_no_shard_size, short_name
from shard.formats.payload import DTYPES
from shard.stored import Stored

_PREFIXES = ("", "K", "M", "G", "T")


def write(stored: Stored, out: Path, options: ExportOptions) -> int:
    require_no_context_length(options, "datatrove", "DatatroveFolderDataset cuts them")
    require_no_shard_size(options, "datatrove", "has the shards as they are")
    name = stored.record.tokenizer.name
    if "|" in name or "\n" in name:
        raise JobError(f"tokenizer {name!r}: its name has a '|' or a line break, which .ds.metadata cannot hold")
    directory = out / short_name(stored.record.split)
    directory.mkdir()
    for shard in stored.shards:
        if not shard.record.documents:
            continue  # readers map files, and an empty file cannot be mapped
        target = directory / f"{shard.stem}.ds"
        shard.check()
        link_or_copy(shard.payload, target)
        ends = np.cumsum(shard.lengths(), dtype="<u8")
        target.with_name(f"{target.name}.index").write_bytes(ends.tobytes())
        tokens = shard.record.tokens
        lines = (f"{name}|{DTYPES[stored.record.dtype].itemsize}", str(tokens), f"{_for_humans(tokens)}T")
        target.with_name(f"{target.name}.metadata").write_text("\n".join(lines))
    return 0


def _for_humans(count: float) -> str:
    for prefix in _PREFIXES:
        if count < 1000 or prefix == _PREFIXES[-1]:
            break
        count /= 1000
    return f"{count:.3g} {prefix}"
