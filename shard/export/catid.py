"""catid's dataloader, version 14: `train/` and `val/` with `index.yaml`, `data_0.bin`, `index_0.bin`, …

A span is a document without its end-of-document id: its tokens as byte planes (all lowest bytes, then all second
ones, …), compressed as one zstd frame. The hashes are XORs of CityHash64 over spans, over index records, and over the
start of either footer. Source: the format as read by DataLoader and DataVerifier, https://github.com/catid/dataloader.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from shard.errors import JobError
from shard.export.options import ExportOptions, require_no_context_length, short_name
from shard.export.samples import documents
from shard.formats.catid import DATA_HEAD, INDEX_HEAD, RECORD, VERSION, footer, hash_of, require_cityhash
from shard.storage.stored import Stored

_LEVEL = 1
_MOST_BYTES = 0x7FFFFFFF - 1_000_000
_USUAL_RANKS = 8


def write(stored: Stored, out: Path, options: ExportOptions) -> int:
    require_cityhash()
    require_no_context_length(options, "catid", "DataLoader packs documents into rows")
    least_spans = _least_spans(stored, options.local_ranks or _USUAL_RANKS)
    directory = out / short_name(stored.record.split)
    directory.mkdir()
    token_bytes = 2 if stored.record.dtype == "uint16" else 3 if stored.record.tokenizer.vocab_size <= 1 << 24 else 4
    spans = _spans(stored, token_bytes)
    most_tokens = options.shard_tokens or stored.tokens + 1
    left = stored.documents
    names: list[tuple[str, str]] = []
    while left:
        data, index = f"data_{len(names)}.bin", f"index_{len(names)}.bin"
        with (directory / data).open("wb") as data_file, (directory / index).open("wb") as index_file:
            left -= _write_pair(data_file, index_file, spans, left, most_tokens, least_spans, token_bytes)
        names.append((data, index))
    facts = {
        "version": VERSION,
        "token_bytes": token_bytes,
        "total_tokens": stored.tokens - (0 if stored.record.tokenizer.eod_id is None else stored.documents),
        "data_files": [data for data, _ in names],
        "index_files": [index for _, index in names],
    }
    (directory / "index.yaml").write_bytes(msgspec.yaml.encode(facts))
    return 0


def _least_spans(stored: Stored, ranks: int) -> int:
    """Documents that a file must have: the loader gives each of R ranks ceil(N / R), and with N below R·(R-1) that can
    leave the last one less than none. Raises JobError where the split has too few."""
    if stored.documents >= ranks * (ranks - 1):
        return ranks * (ranks - 1)
    enough = next(fewer for fewer in range(ranks, 0, -1) if fewer * (fewer - 1) <= stored.documents)
    raise JobError(
        f"{stored.directory}: {stored.documents} documents, and catid's loader needs {ranks * (ranks - 1)} for {ranks} "
        f"ranks on a host; take --local-ranks {enough} if there are no more, or export the other split alone"
    )


def _spans(stored: Stored, token_bytes: int) -> Iterator[tuple[int, bytes]]:
    """(tokens, frame) of every document."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    cut = 0 if stored.record.tokenizer.eod_id is None else 1
    for number, document in enumerate(documents(stored)):
        tokens = document[: len(document) - cut]
        if not len(tokens):
            raise JobError(
                f"{stored.directory}: document {number} has no tokens, and catid's loader stops at such a span"
            )
        yield len(tokens), compressor.compress(_planes(tokens, token_bytes))


def _planes(tokens: NDArray[Any], token_bytes: int) -> bytes:
    # [tokens, itemsize] → [token_bytes, tokens]
    return tokens.view(np.uint8).reshape(len(tokens), -1)[:, :token_bytes].T.tobytes()


def _write_pair(
    data: BinaryIO,
    index: BinaryIO,
    spans: Iterator[tuple[int, bytes]],
    left: int,
    most_tokens: int,
    least_spans: int,
    token_bytes: int,
) -> int:
    """Write one file and its index; returns the number of spans. Another is begun only if it will have enough."""
    position = held_tokens = count = 0
    data_hash = index_hash = 0
    while count < left:
        enough = left - count >= least_spans and count >= least_spans
        if position >= _MOST_BYTES or (enough and held_tokens >= most_tokens):
            break
        tokens, frame = next(spans)
        record = RECORD.pack(position, tokens)
        data.write(frame)
        index.write(record)
        data_hash ^= hash_of(frame)
        index_hash ^= hash_of(record)
        position += len(frame)
        held_tokens += tokens
        count += 1
    data.write(footer(DATA_HEAD.pack(VERSION, token_bytes), data_hash))
    index.write(footer(INDEX_HEAD.pack(position, VERSION, token_bytes), index_hash))
    return count
