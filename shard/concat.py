"""Concatenation: directories of shards of equal tokenizer → one, whose payloads are theirs by hard link.

The units of the first keep their numbers, those of every other go on behind all units of the dataset before it, also
those that lie elsewhere: hosts that join their shares of the same datasets get numbers that fit each other.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from msgspec.structs import replace

from shard.errors import JobError, VerificationError
from shard.records.compression import RANKS_FILE
from shard.records.frozen import canonical_json, sealed_json
from shard.records.identity import Identity, unlike
from shard.records.shards import DIRECTORY_FILE, SPLITS, DirectoryRecord, SourceFacts, Split
from shard.records.trainers import SIGNATURES
from shard.storage.disk import file_sha256, write_atomic
from shard.storage.links import link_or_copy
from shard.storage.sidecars import make_sidecars, subject_of
from shard.storage.stored import Stored, StoredShard, open_stored
from shard.storage.whole import appearing, make_last


@dataclass(frozen=True, slots=True)
class Joined:
    """One directory that was made."""

    directory: Path
    units: int
    documents: int
    tokens: int
    copied_bytes: int
    """That could not be linked, and so stand on the disk a second time."""


def concatenate(directories: Sequence[Path], target: Path, holdout: Path | None = None) -> list[Joined]:
    """Join directories in the order given: train as `target`, holdout as `holdout`, or all as `target` where they are
    of one split.

    Raises JobError, naming every difference, for directories that do not fit, VerificationError for a damaged shard,
    StoreError. Then nothing is made.
    """
    by_split = _by_split([open_stored(directory) for directory in directories])
    finals: dict[Split, Path] = {}
    for split in by_split:
        finals[split] = target if split == "train" or len(by_split) == 1 else holdout or target
    if len(by_split) > 1 and holdout is None:
        raise JobError("directories of train and of holdout: say with --holdout-dir where the holdout is to go")
    if len(by_split) == 1 and holdout is not None:
        raise JobError(f"--holdout-dir {holdout}: all directories are of {next(iter(by_split))}; leave it out")
    with appearing(finals) as places:
        return [_join(by_split[split], places[split], finals[split]) for split in by_split]


def _by_split(sources: Sequence[Stored]) -> dict[Split, list[Stored]]:
    found = {split: [source for source in sources if source.record.split == split] for split in SPLITS}
    by_split = {split: some for split, some in found.items() if some}
    for some in by_split.values():
        _require_fit(some)
    datasets = {tuple(source.record.fingerprint for source in some) for some in by_split.values()}
    if len(datasets) > 1:
        raise JobError(
            "the directories of holdout are not those of train, in the same order: "
            + "; ".join(f"{split}: {', '.join(str(one.directory) for one in some)}" for split, some in by_split.items())
        )
    return by_split


def _require_fit(sources: Sequence[Stored]) -> None:
    first = sources[0]
    seen: dict[str, Stored] = {}
    for other in sources:
        if differing := unlike(other.record.identity, first.record.identity):
            raise JobError(f"{other.directory} does not fit {first.directory}: {'; '.join(differing)}")
        twin = seen.setdefault(other.record.fingerprint, other)
        if twin is not other:
            raise JobError(
                f"{other.directory}: the same dataset as {twin.directory} (fingerprint "
                f"{other.record.fingerprint[:12]}): its documents would stand twice"
            )


def _join(sources: Sequence[Stored], place: Path, final: Path) -> Joined:
    record = _record(sources)
    copied = 0
    for source, name, first in zip(sources, _names(sources), _firsts(sources), strict=True):
        for shard in source.shards:
            # What was appended may have files of the same names.
            own = name if not source.record.earlier else f"{name}@{shard.record.fingerprint[:12]}"
            copied += _take(shard, place, first, own, record)
    if record.identity.compression is not None:  # the same one for all, or they would not fit
        link_or_copy(sources[0].directory / RANKS_FILE, place / RANKS_FILE)
    write_atomic(place / DIRECTORY_FILE, sealed_json(record))
    make_last(place)
    return Joined(
        directory=final.absolute(),
        units=sum(len(source.shards) for source in sources),
        documents=sum(source.documents for source in sources),
        tokens=sum(source.tokens for source in sources),
        copied_bytes=copied,
    )


def _firsts(sources: Sequence[Stored]) -> list[int]:
    """The number that unit 0 of every source gets."""
    return [0, *accumulate(source.record.identity.units for source in sources)][:-1]


def _record(sources: Sequence[Stored]) -> DirectoryRecord:
    records = [source.record for source in sources]
    columns = ", ".join(dict.fromkeys(record.source.text_column for record in records))
    fingerprints = [record.fingerprint for record in records]
    identity: Identity = replace(
        records[0].identity,
        text_column=columns,
        units=sum(record.identity.units for record in records),
        units_sha256=hashlib.sha256(canonical_json(fingerprints)).hexdigest(),
        first_unit=0,
        base=None,
        without=None,
    )
    return replace(
        records[0],
        fingerprint=identity.fingerprint,
        source=SourceFacts(
            dataset=" + ".join(record.source.dataset for record in records),
            revision=identity.units_sha256,
            text_column=columns,
        ),
        identity=identity,
        earlier=(),
    )


def _names(sources: Sequence[Stored]) -> Iterator[str]:
    """What stands before the path of a source file: two datasets may have files of one name, one may lie within
    another, and one may have been read twice, for two columns."""
    names = [source.record.source.dataset.rstrip("/") for source in sources]
    revised = [f"{name}@{one.record.source.revision[:12]}" for one, name in zip(sources, names, strict=True)]
    for source, name, exact in zip(sources, names, revised, strict=True):
        if names.count(name) == 1 and not any(other.startswith(f"{name}/") for other in names):
            yield name
        else:
            yield exact if revised.count(exact) == 1 else f"{name}@{source.record.fingerprint[:12]}"


def _take(shard: StoredShard, place: Path, first: int, name: str, common: DirectoryRecord) -> int:
    """Put a shard in its place. Returns the bytes that were copied; raises VerificationError when it is damaged."""
    shard.check()
    index = shard.payload.with_suffix(".idx")
    if file_sha256(index) != shard.record.index_sha256:
        raise VerificationError(f"{index}: these are not the bytes that its record describes")
    record = replace(
        shard.record,
        unit=first + shard.record.unit,
        fingerprint=common.fingerprint,
        source=replace(shard.record.source, path=f"{name}/{shard.record.source.path}"),
    )
    stem = f"{record.unit:06d}"
    copied = 0
    for file in (shard.payload, index):
        if not link_or_copy(file, place / f"{stem}{file.suffix}"):
            copied += file.stat().st_size
    if record.sidecars:  # anew: some say which unit they are of
        subject = subject_of(place, stem, record, common.tokenizer.name, common.dtype, shard.lengths())
        made = make_sidecars(subject, record.sidecars.keys() - {SIGNATURES})
        hashes = made.sha256
        if SIGNATURES in record.sidecars:  # of the documents alone
            hashes[SIGNATURES] = record.sidecars[SIGNATURES]
            signatures = shard.payload.with_suffix(f".{SIGNATURES}")
            if file_sha256(signatures) != hashes[SIGNATURES]:
                raise VerificationError(f"{signatures}: these are not the bytes that its record describes")
            if not link_or_copy(signatures, place / f"{stem}.{SIGNATURES}"):
                copied += signatures.stat().st_size
        record = replace(record, sidecars=hashes)
        copied += len(made.copied) * record.payload_bytes
    (place / f"{stem}.json").write_bytes(sealed_json(record))
    return copied
