"""Export: directories of shards → one directory in a trainer's format, which appears whole or not at all."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shard.disk import fsync_directory, is_full
from shard.errors import DiskFullError, JobError, StoreError
from shard.export import catid, datatrove, litdata, llmc, mds, megatron, nanogpt, olmo, parquet
from shard.export.options import ExportOptions
from shard.frozen import sealed_json
from shard.records import Split
from shard.stored import Stored, open_stored
from shard.whole import make_last

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


def export(directories: Sequence[Path], format_name: str, target: Path, options: ExportOptions) -> Exported:
    """Write directories of shards, train and holdout at most, as `target`.

    Raises JobError or StoreError for what cannot be asked, VerificationError when a shard is damaged, DiskFullError;
    then there is no target, and the shards are untouched.
    """
    if options.local_ranks is not None and format_name != "catid":
        raise JobError(f"--local-ranks {options.local_ranks}: only catid's files depend on how many ranks read them")
    sources = [open_stored(directory) for directory in directories]
    _require_one_dataset(sources)
    if target.exists() or target.is_symlink():
        raise StoreError(f"{target}: exists; exports replace nothing: remove it, or choose another --to")
    unfinished = target.absolute().with_name(f".{target.absolute().name}.{secrets.token_hex(4)}.tmp")
    try:
        unfinished.mkdir(parents=True)
        left_out = {source.record.split: FORMATS[format_name](source, unfinished, options) for source in sources}
        facts = _facts(sources, format_name, options, left_out, unfinished)
        (unfinished / EXPORT_FILE).write_bytes(sealed_json(facts))
        linked, own = _sizes(unfinished)
        make_last(unfinished)
        unfinished.rename(target.absolute())
        fsync_directory(target.absolute().parent)
    except OSError as error:
        if is_full(error):
            raise DiskFullError(
                f"{target}: {os.strerror(error.errno or 0)}; nothing is left of this export, and the shards are as "
                "they were: free space there, or choose another --to"
            ) from error
        raise StoreError(f"{target}: {error.strerror or error}; nothing is left of this export") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    documents, tokens = (sum(counts) for counts in zip(*((s.documents, s.tokens) for s in sources), strict=True))
    return Exported(target, documents, tokens, sum(left_out.values()), own, linked, NOTES.get(format_name))


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
    sources: Sequence[Stored], format_name: str, options: ExportOptions, left_out: Mapping[Split, int], root: Path
) -> dict[str, Any]:
    """`export.json`: where the files come from, and what they must be."""
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
        "files": {
            path.relative_to(root).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
            for path in sorted(root.rglob("*"))
            if path.is_file()
        },
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sizes(root: Path) -> tuple[int, int]:
    """(bytes shared with the shards, bytes of its own)."""
    found = [path.stat() for path in root.rglob("*") if path.is_file()]
    linked = sum(stat.st_size for stat in found if stat.st_nlink > 1)
    return linked, sum(stat.st_size for stat in found) - linked
