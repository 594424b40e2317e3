"""One unit: source → tokenizer → split → writer, the stages beside each other where there are cores for that."""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from shard.batch import TextBatch, TokenBatch
from shard.formats.frames import Codec
from shard.formats.payload import payload_of
from shard.overlap import RunAhead, stages
from shard.records.job import Job
from shard.records.shards import ShardRecord, Split, UnitSource
from shard.records.unit import Unit
from shard.signatures.rows import rows_of
from shard.source.download import Scratch
from shard.source.intake import Intake
from shard.source.opened import open_unit
from shard.split import held_out
from shard.storage.store import Directories
from shard.tokenizer.checks import SampleCheck
from shard.tokenizer.load import Tokenizer
from shard.writer import UnitWriter

_AHEAD = 2
"""Batches between two stages: enough that neither waits for the other's jitter."""


@dataclass
class Counters:
    """What one rank has done since it started; read by its reporter thread while it grows."""

    documents: int = 0
    tokens: int = 0
    text_bytes: int = 0

    def add(self, documents: int, tokens: int, text_bytes: int) -> None:
        self.documents += documents
        self.tokens += tokens
        self.text_bytes += text_bytes


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a rank keeps from unit to unit."""

    job: Job
    rank: int
    tokenizer: Tokenizer
    directories: Directories
    scratch: Scratch
    locations: dict[str, str]
    """Where source files on the Hub lie, as far as the launcher or this rank has resolved them, by path."""
    counters: Counters
    intake: Intake | None = None
    """Connections, and the next unit opened ahead; None: every unit has its own."""
    codec: Codec | None = None
    """Compresses payloads; None: they stay raw."""

    @property
    def two_cores(self) -> bool:
        """Whether this rank has more than one core to itself.

        With one, a batch is decoded, encoded, hashed and written while it is in the cache; threads only take it out.
        """
        return self.spare_cores > 0

    @property
    def spare_cores(self) -> int:
        """Cores that this rank has to itself, beside the first."""
        return max(0, len(os.sched_getaffinity(0)) // self.job.ranks - 1)


@dataclass(frozen=True, slots=True)
class Written:
    """A unit whose tokens lie under temporary names."""

    unit: Unit
    writer: UnitWriter
    source: UnitSource
    dropped: dict[str, int]
    started: float
    text_bytes: int

    @property
    def copied(self) -> tuple[str, ...]:
        """After the commit: names of payloads that are copies, because the file system knows no links."""
        return self.writer.copied

    def commit(self) -> dict[Split, ShardRecord]:
        """Make the unit's shards appear, or nothing. Raises ShardError."""
        try:
            return self.writer.commit(self.source, self.dropped, time.monotonic() - self.started)
        finally:
            self.writer.discard()


def write_unit(place: Workplace, unit: Unit, then: Unit | None = None) -> Written:
    """Tokenize a unit; the caller commits it, while the next unit is already being read: probably `then`.

    Raises ShardError; nothing half-written stays.
    """
    job, spec, scheme = place.job, place.job.tokenizer, place.job.options.signatures
    started = time.monotonic()
    dropped: dict[str, int] = {"null": 0, "empty": 0, "invalid_utf8": 0}
    text_bytes = 0
    # Four compress what one tokenizes.
    threads = min(4, place.spare_cores)
    writer = UnitWriter(job, unit, place.directories, place.rank, codec=place.codec, spare_cores=threads, scheme=scheme)
    try:
        kept = (place.scratch, place.locations, place.intake)
        with open_unit(job.dataset, unit, job.options, *kept, then) as opened:
            ahead, encoded = _stages(place, opened.texts)
            with stages(*ahead, interrupt=opened.abandon):
                for text, tokens in encoded:
                    payload = payload_of(tokens, spec.dtype, spec.eod_id, spec.bos_id)
                    signatures = None if scheme is None else rows_of(text, scheme)
                    writer.write(payload, held_out(text, job.holdout), signatures)
                    for reason, rows in text.dropped.items():
                        dropped[reason] = dropped.get(reason, 0) + rows
                    text_bytes += len(text.data)
                    place.counters.add(text.documents, len(payload.tokens), len(text.data))
            taken = opened.taken()
    except BaseException:
        writer.discard()
        raise
    source = UnitSource(
        path=unit.path,
        row_start=taken.row_start,
        row_end=taken.row_end,
        content_id=unit.content_id,
        file_rows=taken.file_rows,
        lines=taken.lines,
    )
    return Written(unit, writer, source, dropped, started, text_bytes)


def _stages(
    place: Workplace, texts: Iterable[TextBatch]
) -> tuple[list[RunAhead[Any]], Iterable[tuple[TextBatch, TokenBatch]]]:
    """Decoding and encoding beside the writer, where there are cores for that; else in turns with it."""
    if not place.two_cores:
        return [], _encode(place, texts)
    decoded = RunAhead(texts, depth=_AHEAD)
    encoded = RunAhead(_encode(place, decoded), depth=_AHEAD)
    return [decoded, encoded], encoded


def _encode(place: Workplace, texts: Iterable[TextBatch]) -> Iterator[tuple[TextBatch, TokenBatch]]:
    sample = SampleCheck(place.tokenizer.reference)
    documents = 0
    for text in texts:
        tokens = place.tokenizer.engine.encode(text)
        sample.check(text, tokens, first_document=documents)
        documents += text.documents
        yield text, tokens
