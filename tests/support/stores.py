"""Directories of shards with documents given as ids, written by the worker's own writer."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shard.formats.payload import payload_of
from shard.job import TokenizerSpec, Unit
from shard.records import UnitSource
from shard.store import open_store
from shard.writer import UnitWriter
from tests.support.batches import token_batch_of
from tests.support.jobs import files_dataset, make_job

EOD = 256

Documents = Sequence[list[int]]


def ids_of_text(texts: Sequence[str]) -> list[list[int]]:
    """Their UTF-8 bytes, as `--tokenizer bytes` has them."""
    return [list(text.encode()) for text in texts]


def write_store(
    directory: Path, shards: Sequence[Documents], *, wide: bool = False, eod: bool = True, name: str = "made"
) -> Path:
    """Write documents, a list for each shard, as a train directory below `directory`; returns it.

    `wide` takes four bytes a token; `eod` puts an end-of-document token after every document. Stores of one name and
    kind have one fingerprint.
    """
    vocab_size = 1 << 17 if wide else EOD + 1
    spec = TokenizerSpec(
        name=name,
        kind="bytes",
        vocab_size=vocab_size,
        eod_id=EOD if eod else None,
        sha256=hashlib.sha256(name.encode()).hexdigest(),
    )
    units = [Unit(ordinal=number, path=f"part-{number}", size=1, content_id="tail:0") for number in range(len(shards))]
    job = make_job(files_dataset("/nowhere"), directory, units=units, tokenizer=spec)
    with open_store(job) as directories:
        for unit, documents in zip(units, shards, strict=True):
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
