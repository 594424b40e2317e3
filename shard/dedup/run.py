"""Deduplication of a pair of directories, train and holdout: signatures, duplicates, removal lists, new directories."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shard.dedup.find import find_duplicates
from shard.dedup.lists import removed_of, write_lists
from shard.dedup.pairs import require_duckdb
from shard.dedup.parts import Duplicates
from shard.dedup.processes import in_processes
from shard.dedup.rewrite import Written, rewrite, units_of
from shard.dedup.sources import sources_of
from shard.dedup.unitfile import UnitFile, fetch_from
from shard.errors import DirectoryInUseError, JobError, StoreError
from shard.records.dedup import Settings
from shard.records.shards import SPLITS, Split
from shard.signatures.text import TokenBytes, token_bytes_of
from shard.storage.disk import make_directory
from shard.storage.store import Directories
from shard.storage.stored import Stored, open_stored
from shard.tokenizer.protocol import Reference

Progress = Callable[[], None]
"""Called after every shard whose signatures are there."""


@dataclass(frozen=True, slots=True)
class Deduplication:
    """What is known of a pair of directories before anything is written."""

    pair: dict[Split, Stored]
    files: tuple[UnitFile, ...]
    """In the order in which their documents are numbered."""
    settings: Settings
    duplicates: Duplicates
    work: Path

    def removed(self) -> dict[tuple[Split, str], NDArray[np.int64]]:
        """[duplicates] positions within every shard, by split and stem."""
        return {
            (file.shard.record.split, file.shard.stem): positions
            for file, positions in zip(
                self.files, removed_of(self.duplicates, sizes_of(self.files)).values(), strict=True
            )
        }

    def write(self, finals: Directories, processes: int) -> dict[Split, Written]:
        """Write the directories without the duplicates. Raises as rewrite does."""
        return rewrite(self.pair, units_of(self.pair, self.removed()), finals, self.settings, processes)


def open_pair(directories: Sequence[Path]) -> dict[Split, Stored]:
    """Train and holdout of one dataset, given in either order. Raises JobError, VerificationError."""
    found = [open_stored(directory) for directory in directories]
    pair = {split: stored for split in SPLITS for stored in found if stored.record.split == split}
    if len(found) != len(SPLITS) or len(pair) != len(SPLITS):
        said = ", ".join(f"{stored.directory} ({stored.record.split})" for stored in found)
        raise JobError(f"{said}: give one directory of train and one of holdout; join several with 'shardfleet concat'")
    if pair["train"].record.fingerprint != pair["holdout"].record.fingerprint:
        raise JobError(
            f"{pair['train'].directory} and {pair['holdout'].directory} are not of one dataset: "
            f"fingerprints {pair['train'].record.fingerprint[:12]}, {pair['holdout'].record.fingerprint[:12]}"
        )
    return pair


@contextmanager
def at_work(directory: Path) -> Iterator[None]:
    """Have a working directory for this process alone. Raises DirectoryInUseError, StoreError, DiskFullError."""
    try:
        make_directory(directory)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StoreError(f"{directory}: no place for signatures and removal lists: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DirectoryInUseError(
                f"{directory}: another deduplication is at work there; wait for its end"
            ) from error
        yield
    finally:
        os.close(descriptor)


def deduplicate(
    pair: dict[Split, Stored],
    reference: Reference,
    settings: Settings,
    work: Path,
    *,
    memory: int | None = None,
    processes: int = 1,
    progress: Progress = lambda: None,
) -> Deduplication:
    """Make what signatures are missing, find the duplicates, and write the removal lists, all below `work`.

    Raises TokenizerError where text cannot be had back from tokens, VerificationError for a damaged shard or file,
    JobError, DiskFullError.
    """
    require_duckdb()
    facts = pair["train"].record.tokenizer
    signatures = work / "signatures"
    make_directory(signatures)
    files = _files(pair, signatures, settings)
    # Where nothing is compared nothing is needed for it.
    lacking = [file for file in files if settings.scope != "none" and not file.is_there(facts.sha256)]
    for _ in range(len(files) - len(lacking)):
        progress()
    if lacking:
        table = token_bytes_of(reference, facts.vocab_size, facts.frame)
        for _ in in_processes(partial(_make, table, facts.sha256), lacking, processes):
            progress()
    duplicates = find_duplicates(files, settings, work, partial(fetch_from, files), memory)
    write_lists(duplicates, sizes_of(files), work / "removed")
    return Deduplication(pair, files, settings, duplicates, work)


def _make(table: TokenBytes, tokenizer_sha256: str, file: UnitFile) -> None:
    file.make(table, tokenizer_sha256)


def _files(pair: dict[Split, Stored], directory: Path, settings: Settings) -> tuple[UnitFile, ...]:
    """By unit, of each first train: the first of several copies stays, on whichever side it is."""
    facts = pair["train"].record.source
    shards = [shard for split in SPLITS for shard in pair[split].shards]
    shards.sort(key=lambda shard: (shard.record.unit, SPLITS.index(shard.record.split)))
    paths = [shard.record.source.path for shard in shards]
    appended = bool(pair["train"].record.earlier)
    sources = sources_of(paths, facts, appended=appended, needed=settings.scope == "source")
    return tuple(UnitFile(shard, directory, settings, source) for shard, source in zip(shards, sources, strict=True))


def sizes_of(files: Sequence[UnitFile]) -> list[tuple[str, int]]:
    """Name and number of documents of each."""
    return [(file.name, file.documents) for file in files]
