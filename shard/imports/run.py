"""Import: files of another tool → two directories of shards, train and holdout, which appear whole or not at all."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from shard.alone import job_alone
from shard.errors import SourceError
from shard.formats.payload import Payload
from shard.imports import catid, datatrove, llmc, megatron, nanogpt, parquet
from shard.imports.blocks import Documents, checked
from shard.imports.options import ImportOptions
from shard.imports.sources import Source, in_order
from shard.records.job import Dataset, Holdout, Job, TokenizerSpec, identity_of
from shard.records.shards import SPLITS, ShardRecord, Split, UnitSource
from shard.records.unit import Unit
from shard.storage.store import Directories, open_store
from shard.storage.whole import appearing
from shard.verify.tokens import never_text
from shard.writer import UnitWriter

Read = Callable[[Sequence[Source], ImportOptions], Iterator[tuple[int, Documents]]]
"""Sources of one split → (number of the source, some of its documents), in order."""


@dataclass(frozen=True, slots=True)
class _Format:
    find: Callable[[Path], list[Source]]
    read: Read
    says_width: bool = True
    """Whether its files say how wide ids are."""


IMPORTS: Mapping[str, _Format] = {
    "megatron": _Format(megatron.find, megatron.read),
    "nanogpt": _Format(nanogpt.find, nanogpt.read, says_width=False),
    "datatrove": _Format(datatrove.find, datatrove.read),
    "catid": _Format(catid.find, catid.read),
    "llmc": _Format(llmc.find, llmc.read),
    "parquet": _Format(parquet.find, parquet.read),
}


@dataclass(frozen=True, slots=True)
class Imported:
    """What one split has become."""

    directory: Path
    files: int
    documents: int
    tokens: int


def import_tokens(
    path: Path, format_name: str, target: Path, holdout: Path, options: ImportOptions
) -> dict[Split, Imported]:
    """Write the files of a format, below a directory or one alone, as shards: a unit for each.

    Raises JobError for what cannot be asked, SourceError, naming the file, for what cannot be read as that format,
    StoreError, DiskFullError. Then there is no target.
    """
    form = IMPORTS[format_name]
    if form.says_width:
        options.require_no_ids(format_name)
    finals: Directories = {"train": target, "holdout": holdout}
    sources = in_order(form.find(path))
    with appearing(finals) as unfinished:
        job = _job(path, format_name, sources, unfinished, options.tokenizer)
        with open_store(job) as directories:
            records = list(_write(sources, form.read, job, directories, options))
    return {
        split: Imported(
            finals[split].absolute(),
            files=sum(source.split == split for source in sources),
            documents=sum(record[split].documents for record in records),
            tokens=sum(record[split].tokens for record in records),
        )
        for split in SPLITS
    }


def _job(
    path: Path, format_name: str, sources: Sequence[Source], directories: Directories, tokenizer: TokenizerSpec
) -> Job:
    """What the import is, said as a run says it: the same files give the same fingerprint wherever they lie."""
    units = tuple(
        Unit(
            ordinal=ordinal,
            path=source.name,
            size=source.size,
            content_id=f"{format_name}:{source.sha256()}",
        )
        for ordinal, source in enumerate(sources)
    )
    holdout = Holdout(rate=0.0)
    # No text was read: there is no column.
    root = str(path.absolute())
    dataset = Dataset(kind="files", name=str(path), root=root, revision="", text_column="")
    identity = identity_of(dataset, tokenizer, holdout, units)
    pinned = msgspec.structs.replace(dataset, revision=identity.units_sha256)
    return job_alone("import", directories, pinned, tokenizer, holdout, identity, units)


def _write(
    sources: Sequence[Source], read: Read, job: Job, directories: Directories, options: ImportOptions
) -> Iterator[Mapping[Split, ShardRecord]]:
    """Commit a unit for every source, in order."""
    states = [source.state() for source in sources]
    never = never_text(job.tokenizer)
    first = 0
    for split in SPLITS:
        some = [source for source in sources if source.split == split]
        blocks = read(some, options)
        ahead = next(blocks, None)
        for number, source in enumerate(some):
            unit = job.units[first + number]
            with ExitStack() as stack:
                writer = UnitWriter(job, unit, directories, rank=0)
                stack.callback(writer.discard)
                began, documents = time.monotonic(), 0
                while ahead is not None and ahead[0] == number:
                    payload = checked(ahead[1], job.tokenizer, never, str(source.payload))
                    _append(writer, payload, split)
                    documents += len(payload.offsets) - 1
                    ahead = next(blocks, None)
                if source.state() != states[first + number]:
                    raise SourceError(f"{source.payload}: changed while it was read; import it when it is at rest")
                rows = UnitSource(
                    path=unit.path, row_start=0, row_end=documents, content_id=unit.content_id, file_rows=documents
                )
                yield writer.commit(rows, {}, time.monotonic() - began)
        first += len(some)


def _append(writer: UnitWriter, payload: Payload, split: Split) -> None:
    mask = np.full(len(payload.offsets) - 1, split == "holdout")
    writer.write(payload, mask)
