"""Export: directories of shards → one directory in a trainer's format, which appears whole or not at all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from shard.errors import JobError, ShardError
from shard.export import catid, datatrove, litdata, llmc, mds, megatron, nanogpt, olmo, parquet
from shard.export.options import ExportOptions
from shard.records.frozen import canonical_json, sealed_json, unsealed
from shard.records.shards import Split
from shard.storage.disk import file_sha256
from shard.storage.stored import Stored, open_stored
from shard.storage.whole import appearing, make_last

EXPORT_FILE = "export.json"
EXPORT_VERSION = 1

FORMATS: Mapping[str, Callable[[Stored, Path, ExportOptions], int]] = {
    "nanogpt": nanogpt.write,
    "megatron": megatron.write,
    "datatrove": datatrove.write,
    "olmo": olmo.write,
    "llmc": llmc.write,
    "mds": mds.write,
    "litdata": litdata.write,
    "catid": catid.write,
    "parquet": parquet.write,
    "parquet-packed": parquet.write_packed,
}
"""Name → what writes one split into a directory and returns the tokens that it had to leave out."""

NOTES: Mapping[str, str] = {"olmo": olmo.NOTE}
"""Name → what the format does not say by itself."""

_NAMED = ("megatron", "llmc")
"""Whose files the user may name."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    target: Path
    documents: int
    tokens: int
    """In the shards."""
    left_out: int
    """Of those, what fills no sample of the context length."""
    disk_bytes: int
    """That the export takes beside the shards."""
    linked_bytes: int
    """That it shares with them by hard links."""
    note: str | None
    """What whoever trains on it must know."""
    there: bool = False
    """Whether it was there before, and nothing had to be done."""


def export(directories: Sequence[Path], format_name: str, target: Path, options: ExportOptions) -> Exported:
    """Write directories of shards, train and holdout at most, as `target`.

    Raises JobError or StoreError for what cannot be asked, VerificationError when a shard is damaged, DiskFullError;
    then there is no target, and the shards are untouched.
    """
    if options.local_ranks is not None and format_name != "catid":
        raise JobError(f"--local-ranks {options.local_ranks}: only catid's files depend on how many ranks read them")
    if options.name is not None and format_name not in _NAMED:
        raise JobError(f"--name {options.name}: only {' and '.join(_NAMED)} have a name in their files")
    sources = [open_stored(directory) for directory in directories]
    _require_one_dataset(sources)
    if options.test_rows is not None and (
        format_name != "parquet-packed" or [source.record.split for source in sources] != ["train"]
    ):
        raise JobError(
            f"--test-size {options.test_rows}: draws rows of parquet-packed from the train shards; give these alone, "
            "or leave it out, and the holdout is the test split"
        )
    with appearing({"train": target}) as places:
        unfinished = places["train"]
        left_out = {source.record.split: FORMATS[format_name](source, unfinished, options) for source in sources}
        facts = _facts(sources, format_name, options, left_out, unfinished)
        (unfinished / EXPORT_FILE).write_bytes(sealed_json(facts))
        linked, own = _sizes(unfinished)
        make_last(unfinished)
    documents, tokens = (sum(counts) for counts in zip(*((s.documents, s.tokens) for s in sources), strict=True))
    note = _note(format_name, sources, options, left_out)
    return Exported(target, documents, tokens, sum(left_out.values()), own, linked, note)


def existing(directories: Sequence[Path], format_name: str, target: Path, options: ExportOptions) -> Exported | None:
    """The very export of these shards that `target` holds already; None where it holds none, or another.

    By `export.json`, the records of the shards, and the sizes of files.
    """
    try:
        found = msgspec.json.decode(unsealed((target / EXPORT_FILE).read_bytes()))
        sources = [open_stored(directory) for directory in directories]
        splits = {source.record.split: found["splits"][source.record.split] for source in sources}
        left_out = {split: facts["left_out"] for split, facts in splits.items()}
        sizes = all((target / name).stat().st_size == file["bytes"] for name, file in found["files"].items())
        wanted = _facts(sources, format_name, options, left_out, None) | {"files": found["files"]}
    except (OSError, ShardError, msgspec.DecodeError, KeyError, TypeError):
        return None
    if not sizes or msgspec.json.decode(canonical_json(wanted)) != found:
        return None
    linked, own = _sizes(target)
    documents, tokens = (sum(counts) for counts in zip(*((s.documents, s.tokens) for s in sources), strict=True))
    note = _note(format_name, sources, options, left_out)
    return Exported(target, documents, tokens, sum(left_out.values()), own, linked, note, there=True)


def _note(
    format_name: str, sources: Sequence[Stored], options: ExportOptions, left_out: Mapping[Split, int]
) -> str | None:
    """What the format does not say by itself, and that a split has nothing to be read."""
    notes = [NOTES[format_name]] if format_name in NOTES else []
    for source in sources:
        split = source.record.split
        if left_out[split] < source.tokens:
            continue
        why = (
            f"its {source.tokens:,} tokens fill no sample of {options.context_length}" if source.tokens else "no token"
        )
        notes.append(f"{split} is empty ({why}), which its readers may refuse")
    return "; ".join(notes) or None


def _require_one_dataset(sources: Sequence[Stored]) -> None:
    first = sources[0]
    for other in sources[1:]:
        if other.record.fingerprint != first.record.fingerprint:
            raise JobError(
                f"{other.directory}: fingerprint {other.record.fingerprint[:12]}, {first.directory} has "
                f"{first.record.fingerprint[:12]}: they are not of one run; export them apart"
            )
        if other.record.split == first.record.split:
            raise JobError(f"{other.directory}: {other.record.split}, as {first.directory} is; give one of each split")


def _facts(
    sources: Sequence[Stored],
    format_name: str,
    options: ExportOptions,
    left_out: Mapping[Split, int],
    root: Path | None,
) -> dict[str, Any]:
    """`export.json`: where the files come from, and, for a `root`, what they must be."""
    first = sources[0].record
    return {
        "format": format_name,
        "version": EXPORT_VERSION,
        "fingerprint": first.fingerprint,
        "dtype": first.dtype,
        "tokenizer": first.tokenizer,
        "source": first.source,
        "options": asdict(options),
        "splits": {
            source.record.split: {
                "units": len(source.shards),
                "documents": source.documents,
                "tokens": source.tokens,
                "left_out": left_out[source.record.split],
            }
            for source in sources
        },
        "files": {}
        if root is None
        else {
            path.relative_to(root).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in sorted(root.rglob("*"))
            if path.is_file()
        },
    }


def _sizes(root: Path) -> tuple[int, int]:
    """(bytes shared with the shards, bytes of its own)."""
    found = [path.stat() for path in root.rglob("*") if path.is_file()]
    linked = sum(stat.st_size for stat in found if stat.st_nlink > 1)
    return linked, sum(stat.st_size for stat in found) - linked
