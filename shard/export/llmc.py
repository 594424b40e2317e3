"""llm.c and modded-nanogpt: `<name>_train_000001.bin`, `<name>_val_000000.bin`, 256 int32 of header and uint16 tokens.

The end-of-document id stands before every document, where it serves as the beginning of text. Documents run across the
ends of files. Source: llmc/dataloader.h and dev/data/data_common.py, https://github.com/karpathy/llm.c.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shard.errors import JobError
from shard.export.options import (
    ExportOptions,
    require_eod,
    require_no_context_length,
    require_uint16,
    short_name,
)
from shard.formats.payload import Payload
from shard.storage.stored import Stored

_MAGIC, _VERSION = 20240520, 1
_USUAL_TOKENS = 100_000_000
_USUAL_NAME = "shardfleet"
_MOST_TOKENS = 1_000_000_000
"""llm.c seeks with an int: past 2 GiB it cannot."""


def write(stored: Stored, out: Path, options: ExportOptions) -> int:
    require_uint16(stored, "llm.c")
    eod = require_eod(stored, "llm.c and modded-nanogpt find documents by it")
    require_no_context_length(options, "llmc", "the trainers cut them")
    size = options.shard_tokens or _USUAL_TOKENS
    if size > _MOST_TOKENS:
        raise JobError(f"--shard-size {size}: llm.c cannot seek past 2 GiB; take at most {_MOST_TOKENS}")
    total = stored.tokens
    train = stored.record.split == "train"
    if train and total < 2:
        raise JobError(
            f"{stored.directory}: {total} tokens, and modded-nanogpt needs two files, with one each at least"
        )
    if train and total <= size:
        raise JobError(
            f"{stored.directory}: {total} tokens are one file of {size}, and modded-nanogpt needs two to go on to; "
            f"take --shard-size {-(-total // 2)} or less"
        )
    first = 1 if train else 0  # the first file of all is the one for validation
    stream = _pieces(stored.blocks(), eod)
    left: NDArray[Any] = np.empty(0, dtype="<u2")
    for number, start in enumerate(range(0, total, size)):
        tokens = min(size, total - start)
        path = out / f"{options.name or _USUAL_NAME}_{short_name(stored.record.split)}_{first + number:06d}.bin"
        with path.open("wb") as file:
            header = np.zeros(256, dtype="<i4")
            header[:3] = _MAGIC, _VERSION, tokens
            file.write(header.tobytes())
            left = _fill(file, tokens, left, stream)
    return 0


def _pieces(blocks: Iterator[Payload], eod: int) -> Iterator[NDArray[Any]]:
    """The tokens with the end-of-document id moved from behind every document to before it."""
    for block in blocks:
        moved = np.empty_like(block.tokens)
        moved[1:] = block.tokens[:-1]
        moved[block.offsets[:-1]] = eod
        yield moved


def _fill(file: BinaryIO, tokens: int, left: NDArray[Any], stream: Iterator[NDArray[Any]]) -> NDArray[Any]:
    """Write so many tokens; returns what is left of the last piece."""
    while tokens:
        if not len(left):
            left = next(stream)
        now, left = left[:tokens], left[tokens:]
        file.write(now.tobytes())
        tokens -= len(now)
    return left
