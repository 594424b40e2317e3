"""Sidecars of one shard: made beside its payload, and listed in its record."""

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from shard.errors import VerificationError
from shard.formats.datatrove import ends_bytes, metadata_bytes
from shard.formats.megatron import read_index
from shard.formats.olmo import table_bytes
from shard.formats.payload import DTYPES
from shard.records.frozen import sealed_json
from shard.records.job import Job
from shard.records.shards import SPLITS, ShardRecord, Split
from shard.records.trainers import ALIASES, SIDECARS, SIGNATURES
from shard.records.unit import Unit
from shard.storage.disk import disk_full_named, file_sha256, fsync_directory, write_atomic
from shard.storage.links import alias
from shard.storage.present import lacking_sidecars
from shard.storage.store import Directories, committed


@dataclass(frozen=True, slots=True)
class Subject:
    """The shard that sidecars are made for."""

    directory: Path
    stem: str
    tokenizer: str
    dtype: str
    source: str
    """Path of the source file."""
    tokens: int
    payload_sha256: str
    lengths: NDArray[np.int32]
    """[documents] in tokens, end-of-document id included."""


def subject_of(
    directory: Path, stem: str, record: ShardRecord, tokenizer: str, dtype: str, lengths: NDArray[np.int32]
) -> Subject:
    """A shard that has its record."""
    return Subject(
        directory=directory,
        stem=stem,
        tokenizer=tokenizer,
        dtype=dtype,
        source=record.source.path,
        tokens=record.tokens,
        payload_sha256=record.payload_sha256,
        lengths=lengths,
    )


@dataclass(frozen=True, slots=True)
class Made:
    """What was made."""

    sha256: dict[str, str]
    """By suffix."""
    copied: tuple[str, ...]
    """Names of the payload that are copies, because the file system knows no links."""


def make_sidecars(subject: Subject, suffixes: Iterable[str]) -> Made:
    """Write these sidecars, each by temporary name and rename; the caller syncs the directory.

    The payload lies under its own name already. Raises OSError and DiskFullError.
    """
    hashes: dict[str, str] = {}
    copied: list[str] = []
    payload = subject.directory / f"{subject.stem}.bin"
    for suffix in sorted(suffixes):
        path = subject.directory / f"{subject.stem}.{suffix}"
        if suffix in ALIASES:
            hashes[suffix] = subject.payload_sha256
            with disk_full_named(path):  # where it has to be a copy
                if not alias(payload, path):
                    copied.append(path.name)
        else:
            data = sidecar_bytes(subject, suffix)
            hashes[suffix] = hashlib.sha256(data).hexdigest()
            write_atomic(path, data)
    return Made(hashes, tuple(copied))


def sidecar_bytes(subject: Subject, suffix: str) -> bytes:
    """The content of a trainer's sidecar that is no other name of the payload."""
    match suffix:
        case "ds.index":
            return ends_bytes(subject.lengths)
        case "ds.metadata":
            return metadata_bytes(subject.tokenizer, DTYPES[subject.dtype].itemsize, subject.tokens)
        case "csv.gz":
            return table_bytes(subject.stem, subject.lengths, subject.source)
    raise ValueError(suffix)


def remove_sidecars(directory: Path, stem: str, *, but: Collection[str] = ()) -> None:
    """Remove what another start made beside a shard that will not list it."""
    for suffix in SIDECARS.difference(but):
        (directory / f"{stem}.{suffix}").unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Completed:
    """A unit that was committed already, now with its sidecars."""

    records: dict[Split, ShardRecord]
    copied: tuple[str, ...]


Sign = Callable[[Path, str, ShardRecord], str]
"""Writes the signatures of a shard, in a directory, with this stem and record. Returns the sha256 of the file."""


def complete_unit(job: Job, directories: Directories, unit: Unit, sign: Sign) -> Completed | None:
    """Make the sidecars that a committed unit lacks, then its records anew. None when the unit is still to be done.

    Its tokens are not read, unless to sign them. Raises VerificationError when an index is damaged, DiskFullError, and
    what `sign` raises.
    """
    records = committed(job, directories, unit)
    if records is None:
        return None
    copied: list[str] = []
    for split in reversed(SPLITS):
        directory, record = directories[split], records[split]
        lacking = set(lacking_sidecars(directory, unit.stem, record, job.options))
        if not lacking:
            continue
        made = make_sidecars(_subject(job, directory, unit.stem, record), lacking - {SIGNATURES})
        copied += made.copied
        hashes = {**record.sidecars, **made.sha256}
        if SIGNATURES in lacking:
            if hashes.pop(SIGNATURES, None) is not None:
                # First, or a crash would leave a record of signatures that others have taken the place of.
                _write_record(directory, unit.stem, msgspec.structs.replace(record, sidecars=hashes))
            hashes[SIGNATURES] = sign(directory, unit.stem, record)
        fsync_directory(directory)
        records[split] = msgspec.structs.replace(record, sidecars=hashes)
        _write_record(directory, unit.stem, records[split])
    return Completed(records, tuple(copied))


def _write_record(directory: Path, stem: str, record: ShardRecord) -> None:
    write_atomic(directory / f"{stem}.json", sealed_json(record))
    fsync_directory(directory)


def _subject(job: Job, directory: Path, stem: str, record: ShardRecord) -> Subject:
    path = directory / f"{stem}.idx"
    digest = file_sha256(path)
    if digest != record.index_sha256:
        raise VerificationError(
            f"{path}: sha256 {digest}, its record says {record.index_sha256}: no sidecar is made from it; remove "
            f"{stem}.json and launch again to have the unit done again"
        )
    return subject_of(directory, stem, record, job.tokenizer.name, job.tokenizer.dtype, read_index(path).lengths)
