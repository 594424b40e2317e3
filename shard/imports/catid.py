"""catid's dataloader, version 14: `index.yaml` names `data_0.bin`, `index_0.bin`, …; a span is a document.

Spans are byte planes in zstd frames, and have no end-of-document id: it is set behind each where the tokenizer has one.
Layout: shard/export/catid.py. Source: the format as read by DataLoader and DataVerifier,
https://github.com/catid/dataloader.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import pairwise
from operator import xor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from shard.batch import TokenBatch
from shard.errors import SourceError
from shard.formats.catid import DATA_HEAD, HASH, INDEX_HEAD, RECORD, VERSION, footer, hash_of, require_cityhash
from shard.formats.payload import payload_of
from shard.imports.blocks import BLOCK_TOKENS, LONGEST_TOKENS, Documents
from shard.imports.options import ImportOptions
from shard.imports.sources import Source, listed, split_of
from shard.records.frozen import stays_below

_DATA_FOOTER, _INDEX_FOOTER = DATA_HEAD.size + HASH.size, INDEX_HEAD.size + HASH.size


class _Facts(msgspec.Struct):
    """`index.yaml`, as far as it is read."""

    version: int
    data_files: list[str]
    index_files: list[str]


def find(path: Path) -> list[Source]:
    require_cityhash()
    found = []
    for name, file, _ in listed(path, "index.yaml"):
        facts = _read_facts(file)
        for data, index in zip(facts.data_files, facts.index_files, strict=True):
            below = name.removesuffix("index.yaml") + data
            split = "train" if path.is_file() else split_of(below)
            found.append(Source(below, file.parent / data, split, file.parent / index))
    return found


def _read_facts(path: Path) -> _Facts:
    try:
        facts = msgspec.yaml.decode(path.read_bytes(), type=_Facts)
    except (msgspec.MsgspecError, OSError) as error:
        raise SourceError(f"{path}: cannot be read: {error}") from error
    if facts.version != VERSION or len(facts.data_files) != len(facts.index_files):
        raise SourceError(
            f"{path}: version {facts.version}, {len(facts.data_files)} data and {len(facts.index_files)} index files; "
            f"version {VERSION} with as many of each is what is read"
        )
    for file in (*facts.data_files, *facts.index_files):
        if not stays_below(file):
            raise SourceError(f"{path}: {file!r} leads out of its directory")
    return facts


def read(sources: Sequence[Source], options: ImportOptions) -> Iterator[tuple[int, Documents]]:
    for number, source in enumerate(sources):
        for batch in _batches(source):
            payload = payload_of(batch, "uint32", options.tokenizer.eod_id)
            yield number, Documents(payload.tokens, payload.offsets)


def _batches(source: Source) -> Iterator[TokenBatch]:
    """The spans of one file, a block at a time."""
    index = source.index or source.payload
    token_bytes, starts, counts = _read_index(index, source.payload)
    decompressor = zstandard.ZstdDecompressor()
    held: list[NDArray[np.uint32]] = []
    tokens = hashed = 0
    with source.payload.open("rb") as file:
        for number, count in enumerate(counts):
            frame = file.read(starts[number + 1] - starts[number])
            hashed ^= hash_of(frame)
            held.append(_span(decompressor, frame, count, token_bytes, f"{source.payload}: span {number}"))
            tokens += count
            if tokens >= BLOCK_TOKENS:
                yield _batch(held)
                held, tokens = [], 0
        end = file.read()
    if held:
        yield _batch(held)
    _check_footer(end, hashed, DATA_HEAD.size, source.payload)


def _read_index(path: Path, payload: Path) -> tuple[int, list[int], list[int]]:
    """(bytes per token, where every span begins and the last ends [spans + 1], tokens of every span [spans])."""
    data = path.read_bytes()
    spans, rest = divmod(len(data) - _INDEX_FOOTER, RECORD.size)
    if spans < 0 or rest:
        raise SourceError(f"{path}: {len(data)} bytes are no records of {RECORD.size} and a footer of {_INDEX_FOOTER}")
    records, end_of_file = data[: spans * RECORD.size], data[spans * RECORD.size :]
    pieces = (records[first : first + RECORD.size] for first in range(0, len(records), RECORD.size))
    _check_footer(end_of_file, reduce(xor, map(hash_of, pieces), 0), INDEX_HEAD.size, path)
    # [spans, 2] uint32
    table = np.frombuffer(records, dtype="<u4").reshape(-1, 2)
    end, token_bytes = int.from_bytes(end_of_file[:4], "little"), end_of_file[5]
    starts = [*table[:, 0].tolist(), end]
    size = payload.stat().st_size
    if size != end + _DATA_FOOTER:
        raise SourceError(
            f"{payload}: {size} bytes; {path.name} says that spans end at {end}, {_DATA_FOOTER} bytes before its end"
        )
    if starts[0] != 0 or any(start >= after for start, after in pairwise(starts)) or not 1 <= token_bytes <= 4:
        raise SourceError(f"{path}: its spans do not follow each other, or have {token_bytes} bytes per token")
    return token_bytes, starts, table[:, 1].tolist()


def _check_footer(found: bytes, hashed: int, head: int, path: Path) -> None:
    """Raise SourceError unless a footer, whose first `head` bytes are hashed, too, fits what stands before it."""
    version = found[head - 2] if len(found) == head + HASH.size else None
    if version != VERSION or found != footer(found[:head], hashed):
        raise SourceError(f"{path}: its footer is not of version {VERSION}, or has not the hash of these bytes")


def _span(decompressor: Any, frame: bytes, count: int, token_bytes: int, where: str) -> NDArray[np.uint32]:
    """[tokens] of one document."""
    size = count * token_bytes
    if count > LONGEST_TOKENS:
        raise SourceError(f"{where}: {count} tokens, more than a document can have here ({LONGEST_TOKENS})")
    try:
        said = zstandard.frame_content_size(frame)
        if said not in (-1, size):  # before room is made for what a damaged frame says
            raise SourceError(f"{where}: holds {said} bytes; the index says {count} tokens, which are {size}")
        planes = decompressor.decompress(frame, max_output_size=size)
    except zstandard.ZstdError as error:
        raise SourceError(f"{where}: cannot be decompressed: {error}") from error
    if len(planes) != size:
        raise SourceError(f"{where}: holds {len(planes)} bytes; the index says {count} tokens, which are {size}")
    # [token_bytes, tokens] → [tokens, 4]
    ids = np.zeros((count, 4), dtype=np.uint8)
    ids[:, :token_bytes] = np.frombuffer(planes, dtype=np.uint8).reshape(token_bytes, count).T
    return ids.reshape(-1).view("<u4")


def _batch(spans: Sequence[NDArray[np.uint32]]) -> TokenBatch:
    offsets = np.zeros(len(spans) + 1, dtype=np.int64)
    np.cumsum([len(span) for span in spans], out=offsets[1:])
    return TokenBatch(tokens=np.concatenate(spans), offsets=offsets)
