"""nanoGPT: `train.bin` and `val.bin`, nothing but uint16 tokens, end-of-document id after every document.

Source: `get_batch` in train.py, https://github.com/karpathy/nanoGPT.
"""

from pathlib import Path

from shard.export.options import (
    ExportOptions,
    require_no_context_length,
    require_no_shard_size,
    require_uint16,
    short_name,
)
from shard.storage.stored import Stored


def write(stored: Stored, out: Path, options: ExportOptions) -> int:
    require_uint16(stored, "nanoGPT")
    require_no_context_length(options, "nanogpt", "the trainer cuts them where it likes")
    require_no_shard_size(options, "nanogpt", "is one file per split")
    with (out / f"{short_name(stored.record.split)}.bin").open("wb") as file:
        for block in stored.blocks():
            file.write(block.tokens.data)
    return 0
