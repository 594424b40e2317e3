"""Directories of shards with documents given as ids, written by the worker's own writer."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from shard.formats.megatron import index_bytes
from shard.formats.payload import payload_of
from shard.records.frozen import sealed_json
from shard.records.job import TokenizerSpec
from shard.records.shards import UnitSource, read_directory, read_shard
from shard.records.unit import Unit
from shard.storage.store import open_store
from shard.writer import UnitWriter
from tests.support.batches import token_batch_of
from tests.support.jobs import files_dataset, make_job

EOD = 256

Documents = Sequence[list[int]]


def ids_of_text(texts: Sequence[str]) -> list[list[int]]:
    """Their UTF-8 bytes, as `--tokenizer bytes` has them."""
    return [list(text.encode()) for text in texts]


def write_store(
    directory: Path,
    shards: Sequence[Documents],
    *,
    wide: bool = False,
    eod: bool = True,
    name: str = "made",
    units: int | None = None,
) -> Path:
    """Write documents, a list for each shard, as a train directory below `directory`; returns it.

    `wide` takes four bytes a token; `eod` puts an end-of-document token after every document. Stores of one name and
    kind have one fingerprint. `units` is for more units than there are shards.
    """
    vocab_size = 1 << 17 if wide else EOD + 1
    spec = TokenizerSpec(
        name=name,
        kind="bytes",
        vocab_size=vocab_size,
        eod_id=EOD if eod else None,
        sha256=hashlib.sha256(name.encode()).hexdigest(),
    )
    planned = [
        Unit(ordinal=number, path=f"part-{number}", size=1, content_id="tail:0")
        for number in range(units or len(shards))
    ]
    job = make_job(files_dataset("/nowhere"), directory, units=planned, tokenizer=spec)
    with open_store(job) as directories:
        for unit, documents in zip(planned, shards, strict=False):
            writer = UnitWriter(job, unit, directories, rank=0)
            payload = payload_of(token_batch_of(documents), spec.dtype, spec.eod_id)
            writer.write(payload, np.zeros(len(documents), dtype=np.bool_))
            rows = len(documents)
            source = UnitSource(path=unit.path, row_start=0, row_end=rows, content_id=unit.content_id, file_rows=rows)
            writer.commit(source, {}, 0.0)
    return directory / "train"


def stream_of(shards: Sequence[Documents], *, eod: bool = True) -> tuple[list[int], list[int]]:
    """(all tokens in a row, where each document begins and the end), as those shards hold them."""
    tokens: list[int] = []
    starts = [0]
    for documents in shards:
        for document in documents:
            tokens += [*document, EOD] if eod else document
            starts.append(len(tokens))
    return tokens, starts


def write_many(directory: Path, lengths: np.ndarray, times: int) -> Path:
    """A train directory of `times` shards of two-byte tokens with documents of these lengths, which take the disk of
    one, and hardly that: payloads are a hole in a file. Returns it."""
    store = write_store(directory, [[[]]], units=times)
    dataset = read_directory(store)
    first = read_shard(store, "000000")
    tokens = int(lengths.sum())
    index = index_bytes([lengths.astype(np.int32)], dataset.dtype)
    for path in store.glob("[0-9]*"):
        path.unlink()
    (store / "000000.idx").write_bytes(index)
    with (store / "000000.bin").open("wb") as file:
        file.truncate(2 * tokens)
    for unit in range(times):
        stem = f"{unit:06d}"
        record = msgspec.structs.replace(
            first, unit=unit, documents=len(lengths), tokens=tokens, payload_bytes=2 * tokens
        )
        (store / f"{stem}.json").write_bytes(sealed_json(record))
        for suffix in ("bin", "idx") if unit else ():
            (store / f"{stem}.{suffix}").hardlink_to(store / f"000000.{suffix}")
    return store
