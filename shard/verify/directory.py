"""One directory of shards against its records: every file is read again."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

import msgspec

from shard.errors import JobError, VerificationError
from shard.formats.payload import DTYPES
from shard.records.compression import RANKS_FILE
from shard.records.frozen import canonical_json, unsealed
from shard.records.identity import Identity, broken_link, identity_at
from shard.records.job import FORMAT, FORMAT_VERSION
from shard.records.manifest import MANIFEST_FILE, Manifest
from shard.records.shards import DIRECTORY_FILE, DirectoryRecord, ShardRecord, Split, place_of
from shard.storage.rankfile import read_codec
from shard.storage.store import SHARD_FILE
from shard.verify.report import DirectoryReport, Finding, UnitFacts
from shard.verify.shard import check_shard

Progress = Callable[[Path, int, int], None]
"""(directory, payload bytes read, payload bytes to read); called in the caller's thread after every shard."""

_LEFT_OVER = re.compile(r"\.\d{6,}\..*\.tmp|\.dataset\.json\..*\.tmp|\.scratch-.*")

R = TypeVar("R")


def verify_directory(
    directory: Path,
    *,
    host: str = "",
    expected: tuple[Split, Identity] | None = None,
    mine: frozenset[int] | None = None,
    progress: Progress | None = None,
) -> DirectoryReport:
    """Read every shard of a directory again. Whatever is wrong, or cannot be read, is a finding.

    Args:
        directory: holds `dataset.json` and shards.
        host: this host's name in a run; stands before every path in the report.
        expected: what `dataset.json` must say.
        mine: ordinals of the units whose bytes this host must read; None for all.
        progress: called after every shard.
    """
    check = _DirectoryCheck(directory, host, mine)
    record = check.directory_record(expected)
    facts: list[UnitFacts] = []
    if record is not None:
        shards = check.shards(record)
        facts = [fact for _, fact in shards]
        check.bytes(record, [shard for shard, fact in shards if fact.checked], progress)
    return check.report(record, facts)


class _DirectoryCheck:
    """The checks of one directory, and what they find."""

    def __init__(self, directory: Path, host: str, mine: frozenset[int] | None) -> None:
        self._directory = directory
        self._host = host
        self._mine = mine
        self._unreadable: list[int] = []
        self._findings: list[Finding] = []
        self._bytes = 0

    def directory_record(self, expected: tuple[Split, Identity] | None) -> DirectoryRecord | None:
        """dataset.json, checked in itself and against what is expected; None when it cannot be read."""
        path = self._directory / DIRECTORY_FILE
        record = self._read(path, DirectoryRecord)
        if record is None:
            return None
        for problem in _directory_problems(record):
            self.error(path, problem)
        if expected is not None:
            split, identity = expected
            differing = identity.differing(record.identity)
            if record.split != split:
                differing.append(f"split: {split!r}, not {record.split!r}")
            if differing:
                self.error(path, f"is not of this run: {'; '.join(differing)}")
        return record

    def shards(self, directory: DirectoryRecord) -> list[tuple[ShardRecord, UnitFacts]]:
        """All readable records, in order; what belongs to none is reported."""
        try:
            names = sorted(os.listdir(self._directory))  # noqa: PTH208  names are what is matched
        except OSError as error:
            self.error(self._directory, f"cannot be listed: {error.strerror}")
            return []
        committed = {name.removesuffix(".json") for name in names if name.endswith(".json")}
        found: list[tuple[ShardRecord, UnitFacts]] = []
        beside: list[tuple[str, str]] = []
        listed: dict[str, ShardRecord] = {}
        for name in names:
            path = self._directory / name
            shard = SHARD_FILE.fullmatch(name)
            if shard is not None and shard[2] == "json":
                record = self._shard_record(path, directory)
                if record is None:
                    self._unreadable.append(int(shard[1]))
                else:
                    checked = self._mine is None or record.unit in self._mine or record.host == self._host
                    found.append((record, _facts(record, checked=checked)))
                    listed[shard[1]] = record
            elif name == MANIFEST_FILE:
                self._read(path, Manifest)
            elif _LEFT_OVER.fullmatch(name) or (shard is not None and shard[1] not in committed):
                self.warning(path, "unfinished: no record commits it; the next run removes or replaces it")
            elif shard is not None:
                beside.append((shard[1], shard[2]))
        for stem, suffix in beside:
            if stem in listed and suffix not in {"idx", listed[stem].payload_suffix, *listed[stem].sidecars}:
                path = self._directory / f"{stem}.{suffix}"
                self.warning(path, f"unfinished: {stem}.json does not list it; the next run removes or replaces it")
        return found

    def _shard_record(self, path: Path, directory: DirectoryRecord) -> ShardRecord | None:
        """A record; None when it cannot be read or belongs elsewhere."""
        record = self._read(path, ShardRecord)
        if record is None:
            return None
        if path.name != f"{record.unit:06d}.json" or record.split != directory.split:
            self.error(
                path,
                f"is the record of unit {record.unit} of {record.split}, in a place for another: {directory.split}",
            )
            return None
        for problem in _record_problems(record, directory):
            self.error(path, problem)
        return record

    def bytes(self, directory: DirectoryRecord, shards: Sequence[ShardRecord], progress: Progress | None) -> None:
        """Read payloads and indexes in as many threads as there are cores: hashing and numpy release the GIL."""
        if directory.dtype not in DTYPES:
            return
        try:
            codec = read_codec(self._directory, directory.identity)
        except VerificationError as error:
            path, codec = self._directory / RANKS_FILE, None
            self.error(path, str(error).removeprefix(f"{path}: "))
        total = sum(record.payload_bytes for record in shards)
        with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
            waiting = {pool.submit(check_shard, self._directory, record, directory, codec): record for record in shards}
            for done in as_completed(waiting):
                for path, problem in done.result():
                    self.error(path, problem)
                self._bytes += waiting.pop(done).payload_bytes
                if progress is not None:
                    progress(self._directory, self._bytes, total)

    def report(self, record: DirectoryRecord | None, units: Sequence[UnitFacts]) -> DirectoryReport:
        return DirectoryReport(
            directory=self._shown(self._directory),
            place=place_of(self._directory),
            record=record,
            units=tuple(units),
            unreadable=tuple(self._unreadable),
            bytes_checked=self._bytes,
            findings=tuple(sorted(self._findings, key=lambda finding: (finding.file, finding.problem))),
        )

    def error(self, path: Path, problem: str) -> None:
        self._findings.append(Finding(severity="error", file=self._shown(path), problem=problem))

    def warning(self, path: Path, problem: str) -> None:
        self._findings.append(Finding(severity="warning", file=self._shown(path), problem=problem))

    def _shown(self, path: Path) -> str:
        return f"{self._host}:{path}" if self._host else str(path)

    def _read(self, path: Path, kind: type[R]) -> R | None:
        try:
            return msgspec.json.decode(unsealed(path.read_bytes()), type=kind)
        except OSError as error:
            self.error(path, f"cannot be read: {error.strerror}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, JobError) as error:
            self.error(path, f"not a {kind.__name__}: {error}")
        return None


def _directory_problems(record: DirectoryRecord) -> Iterator[str]:
    identity = record.identity
    if (record.format, record.version) != (FORMAT, FORMAT_VERSION):
        yield f"format {record.format!r} version {record.version}; this reads {FORMAT!r} version {FORMAT_VERSION}"
    if record.fingerprint != identity.fingerprint:
        yield f"fingerprint {record.fingerprint} is not that of its identity, {identity.fingerprint}"
    if (broken := broken_link(record.chain)) is not None:
        yield f"earlier: {broken}"
    repeated = (
        *(("format", record.format, identity.format), ("version", record.version, identity.version)),
        *(("dtype", record.dtype, identity.dtype), ("tokenizer kind", record.tokenizer.kind, identity.tokenizer_kind)),
        ("vocabulary size", record.tokenizer.vocab_size, identity.vocab_size),
        ("end-of-document id", record.tokenizer.eod_id, identity.eod_id),
        ("beginning-of-document id", record.tokenizer.bos_id, identity.bos_id),
        ("tokenizer sha256", record.tokenizer.sha256, identity.tokenizer_sha256),
        ("text column", record.source.text_column, identity.text_column),
        ("holdout rate", record.holdout.rate, identity.holdout_rate),
        ("holdout seed", record.holdout.seed, identity.holdout_seed),
    )
    for name, ours, theirs in repeated:
        if ours != theirs:
            yield f"{name} {ours!r}, but {theirs!r} in its identity"
    if record.dtype not in DTYPES:
        yield f"dtype {record.dtype!r} is none of {', '.join(DTYPES)}; its shards were not read"


def _record_problems(record: ShardRecord, directory: DirectoryRecord) -> Iterator[str]:
    if record.version != FORMAT_VERSION:
        yield f"version {record.version}; this reads version {FORMAT_VERSION}"
    # Where dataset.json contradicts itself that is one error, not one a shard.
    sound = directory.fingerprint == directory.identity.fingerprint
    identity = identity_at(directory.chain, record.unit) or directory.identity
    if sound and record.fingerprint != identity.fingerprint:
        yield f"fingerprint {record.fingerprint} is not the directory's, {identity.fingerprint}"
    source = record.source
    if not 0 <= source.row_start <= source.row_end <= source.file_rows:
        yield f"rows {source.row_start} to {source.row_end} of {source.file_rows} are impossible"
    if (lines := source.lines) is not None and not 0 <= lines.start <= lines.end <= lines.file_bytes:
        yield f"lines from byte {lines.start} to {lines.end} of {lines.file_bytes} are impossible"
    if min(record.documents, record.tokens, record.payload_bytes, *record.dropped.values()) < 0:
        yield "a count is negative"
    if (record.compressed is None) != (directory.identity.compression is None):
        yield f"its payload is a .{record.payload_suffix}; {DIRECTORY_FILE} says otherwise"
    if record.split == "holdout" and any(record.dropped.values()):
        yield "counts dropped rows, which belong into the record of the train split"


def _facts(record: ShardRecord, *, checked: bool) -> UnitFacts:
    shared = (record.source, record.host, record.rank, record.seconds, sorted(record.dropped))
    return UnitFacts(
        unit=record.unit,
        path=record.source.path,
        content_id=record.source.content_id,
        row_start=record.source.row_start,
        row_end=record.source.row_end,
        file_rows=record.source.file_rows,
        documents=record.documents,
        tokens=record.tokens,
        dropped=sum(record.dropped.values()),
        shared=hashlib.sha256(canonical_json(shared)).hexdigest()[:16],
        checked=checked,
        lines=record.source.lines,
    )
