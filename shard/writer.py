"""The shards of one unit, written beside their final names and committed together.

Order of a commit: index, payload and sidecars of both splits (fsync, rename) → holdout record → train record → fsync
of the directories. Whoever sees the train record sees everything.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shard.formats.frames import Codec
from shard.formats.megatron import index_bytes
from shard.formats.payload import Payload
from shard.records.dedup import Scheme
from shard.records.frozen import sealed_json
from shard.records.job import FORMAT_VERSION, Job
from shard.records.shards import SPLITS, ShardRecord, Split, UnitSource
from shard.records.trainers import SIGNATURES, sidecars_for
from shard.records.unit import Unit
from shard.signatures.rows import Rows, SignatureFile
from shard.storage.disk import disk_full_named, fsync_directory, write_atomic
from shard.storage.payloadfile import FramedFile, PayloadFile, RawFile
from shard.storage.sidecars import Subject, make_sidecars, remove_sidecars
from shard.storage.store import Directories


@dataclass
class _SplitFile:
    """A payload under its temporary name, with what its record will say."""

    file: PayloadFile
    digest: Any = field(default_factory=hashlib.sha256)
    lengths: list[NDArray[np.int32]] = field(default_factory=list)
    documents: int = 0
    tokens: int = 0
    payload_bytes: int = 0
    signatures: SignatureFile | None = None


class UnitWriter:
    """Takes payloads, splits them, and commits or discards the unit's shards."""

    def __init__(
        self,
        job: Job,
        unit: Unit,
        directories: Directories,
        rank: int,
        *,
        codec: Codec | None = None,
        spare_cores: int = 0,
        scheme: Scheme | None = None,
    ) -> None:
        """`codec` compresses, in up to so many threads beside the caller's; by `scheme` every batch has signatures."""
        self._job = job
        self._unit = unit
        self._directories = directories
        self._rank = rank
        self._codec = codec
        self._threads = spare_cores if codec is not None else 0
        self._executor = ThreadPoolExecutor(self._threads, "compress") if self._threads else None
        self._files: dict[Split, _SplitFile] = {}
        self.copied: tuple[str, ...] = ()
        """Names of payloads that turned out copies at the commit, because the file system knows no links."""
        try:
            for split, directory in directories.items():
                _remove_leftovers(directory, f".{unit.stem}.")
                self._files[split] = _SplitFile(self._create(directory))
                if scheme is not None:
                    temporary = directory / f".{unit.stem}.{SIGNATURES}.{os.getpid()}.tmp"
                    self._files[split].signatures = SignatureFile(temporary, scheme)
        except BaseException:
            self.discard()
            raise

    def write(self, payload: Payload, held_out: NDArray[np.bool_], signatures: Rows | None = None) -> None:
        """Append a batch: the documents under the mask to holdout, the others to train; with their signatures, where
        the job asks for some."""
        masks: dict[Split, NDArray[np.bool_]] = {"train": ~held_out, "holdout": held_out}
        for split, mask in masks.items():
            file = self._files[split]
            lengths = payload.lengths(mask)
            file.lengths.append(lengths)
            file.documents += len(lengths)
            for run in payload.runs(mask):
                file.digest.update(run.data.cast("B"))
                file.file.write(run)
                file.tokens += len(run)
                file.payload_bytes += run.nbytes
            if file.signatures is not None and signatures is not None:
                file.signatures.write(signatures[mask])

    def commit(self, source: UnitSource, dropped: dict[str, int], seconds: float) -> dict[Split, ShardRecord]:
        """Make the shards appear. Raises DiskFullError; nothing has appeared then that a resume would count."""
        records: dict[Split, ShardRecord] = {}
        for split, directory in self._directories.items():
            file = self._files[split]
            lengths = np.concatenate([np.empty(0, dtype=np.int32), *file.lengths])
            index = index_bytes([lengths], self._job.tokenizer.dtype)
            with disk_full_named(file.file.temporary):
                compressed = file.file.finish()
                write_atomic(directory / f"{self._unit.stem}.idx", index)
                file.file.temporary.replace(directory / f"{self._unit.stem}.{self._suffix}")
                sidecars = self._make_sidecars(directory, file, lengths)
                fsync_directory(directory)
            records[split] = ShardRecord(
                version=FORMAT_VERSION,
                unit=self._unit.ordinal,
                split=split,
                fingerprint=self._job.fingerprint,
                source=source,
                documents=file.documents,
                tokens=file.tokens,
                payload_bytes=file.payload_bytes,
                payload_sha256=file.digest.hexdigest(),
                index_sha256=hashlib.sha256(index).hexdigest(),
                dropped=dropped if split == "train" else dict.fromkeys(dropped, 0),
                host=self._job.host,
                rank=self._rank,
                seconds=round(seconds, 3),
                sidecars=sidecars,
                compressed=compressed,
            )
        for split in reversed(SPLITS):
            directory = self._directories[split]
            path = directory / f"{self._unit.stem}.json"
            with disk_full_named(path):
                write_atomic(path, sealed_json(records[split]))
                fsync_directory(directory)
        return records

    @property
    def _suffix(self) -> str:
        return "bin" if self._codec is None else "zst"

    def _create(self, directory: Path) -> PayloadFile:
        temporary = directory / f".{self._unit.stem}.{self._suffix}.{os.getpid()}.tmp"
        if self._codec is None:
            return RawFile(temporary)
        return FramedFile(temporary, self._codec, self._executor, ahead=self._threads)

    def _make_sidecars(self, directory: Path, file: _SplitFile, lengths: NDArray[np.int32]) -> dict[str, str]:
        suffixes = sidecars_for(self._job.options.trainers, file.tokens)
        subject = Subject(
            directory=directory,
            stem=self._unit.stem,
            tokenizer=self._job.tokenizer.name,
            dtype=self._job.tokenizer.dtype,
            source=self._unit.path,
            tokens=file.tokens,
            payload_sha256=file.digest.hexdigest(),
            lengths=lengths,
        )
        made = make_sidecars(subject, suffixes)
        self.copied += made.copied
        hashes = made.sha256
        if file.signatures is not None and file.documents:
            hashes[SIGNATURES] = file.signatures.finish()
            file.signatures.temporary.replace(directory / f"{self._unit.stem}.{SIGNATURES}")
        remove_sidecars(directory, self._unit.stem, but=hashes)
        return hashes

    def discard(self) -> None:
        """Drop whatever has not been committed."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
        for file in self._files.values():
            file.file.discard()
            if file.signatures is not None:
                file.signatures.discard()


def _remove_leftovers(directory: Path, prefix: str) -> None:
    """Of an attempt at the same unit that was killed."""
    for name in os.listdir(directory):  # noqa: PTH208  glob would make a Path of each of 30,000 names, for every unit
        if name.startswith(prefix) and name.endswith(".tmp"):
            (directory / name).unlink(missing_ok=True)
