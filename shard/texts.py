"""`shardfleet text`: documents, in their order, as JSON lines, as lines, or as Arrow.

Those of a dataset are read as a run reads them, so what a run would drop is dropped and counted here, too; nothing is
tokenized. Those of shards are decoded.
"""

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec
import pyarrow as pa

from shard.batch import TextBatch
from shard.errors import DiskFullError, JobError, StoreError
from shard.records.dataset import Dataset
from shard.records.unit import Unit
from shard.source.parts import opening
from shard.storage.disk import fsync_directory, is_full
from shard.storage.stored import Stored
from shard.storage.whole import lock, remove_left_over
from shard.tokenizer.checks import TRICKY
from shard.tokenizer.protocol import Reference

Text = str | list[str]
"""A document; a list where it is of several sequences."""
Texts = Callable[[Sequence[Text], str | None], None]
"""Takes documents, and where they are from."""


@dataclass(frozen=True, slots=True)
class Documents:
    """Some documents in a row."""

    texts: Sequence[Text]
    source: str | None = None
    """Where they are from; None where that is not said of documents."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Rows among them that are no document, by reason."""


@dataclass(slots=True)
class Taken:
    """What was written to each file."""

    documents: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


def of_dataset(dataset: Dataset, units: Sequence[Unit], locations: dict[str, str]) -> Iterator[Documents]:
    """All documents; the source is the name of their dataset, where there are several. Raises SourceError."""
    with opening(dataset, locations) as open_unit:
        for unit in units:
            source = unit.path.partition("/")[0] if dataset.named else None
            with open_unit(unit) as batches:
                for batch in batches:
                    texts = [_text(batch, number) for number in range(batch.documents)]
                    yield Documents(texts, source, batch.dropped)


def _text(batch: TextBatch, number: int) -> Text:
    sequences = [str(piece, "utf-8") for piece in batch.pieces_of(number)]
    return sequences if len(sequences) > 1 else sequences[0]


def of_shards(stored: Stored, reference: Reference) -> Iterator[Documents]:
    """All documents of a directory, decoded, without what frames them; the source is the file that its record names.

    Raises VerificationError for a damaged shard.
    """
    before, after = stored.record.tokenizer.frame
    for shard in stored.shards:
        for block in shard.blocks():
            bounds = zip(block.offsets[:-1].tolist(), block.offsets[1:].tolist(), strict=True)
            texts = [reference.decode(block.tokens[start + before : end - after].tolist()) for start, end in bounds]
            yield Documents(texts, shard.record.source.path)


def comes_back(reference: Reference) -> bool:
    """Whether tricky strings are what they were when they are decoded."""
    return all(reference.decode(reference.encode(text.encode())) == text for text in TRICKY)


def write_texts(documents: Iterable[Documents], targets: Sequence[Path], *, with_source: bool) -> Taken:
    """Write every document to each of the targets, which appear when all of them are complete.

    A line of `.jsonl`, or a row of `.arrow`, has `text`, and `source` where that is wanted; a line of `.txt` is the
    document itself. Raises JobError or StoreError for targets that cannot be, and for a document that is no line of
    `.txt`, or of several sequences anywhere but in `.jsonl`; DiskFullError. Then there are none.
    """
    for target in targets:
        if target.suffix not in _FORMS:
            raise JobError(f"--to {target}: its suffix must be one of {', '.join(_FORMS)}")
    done = Taken()
    with _appearing(targets, with_source=with_source) as writers:
        for some in documents:
            for write in writers:
                write(some.texts, some.source)
            done.documents += len(some.texts)
            for reason, rows in some.dropped.items():
                done.dropped[reason] = done.dropped.get(reason, 0) + rows
    return done


@contextmanager
def _json_lines(file: BinaryIO, with_source: bool) -> Iterator[Texts]:
    def write(texts: Sequence[Text], source: str | None) -> None:
        said = {"source": source} if with_source else {}
        file.write(b"".join([msgspec.json.encode({"text": text, **said}) + b"\n" for text in texts]))

    yield write


@contextmanager
def _lines(file: BinaryIO, with_source: bool) -> Iterator[Texts]:
    """Refuses a document that would come back as several, or as another."""

    def write(texts: Sequence[Text], source: str | None) -> None:
        for text in _whole(texts):
            if "\n" in text or text.endswith("\r"):
                raise JobError(
                    f"a document has line ends in it, and in .txt every line is one: {text[:60]!r}…; write .jsonl"
                )
        file.write(b"".join([text.encode() + b"\n" for text in _whole(texts)]))

    yield write


@contextmanager
def _arrow(file: BinaryIO, with_source: bool) -> Iterator[Texts]:
    """A stream, as `datasets` writes and reads them."""
    names = ("text", "source") if with_source else ("text",)
    schema = pa.schema([(name, pa.string()) for name in names])
    with pa.ipc.new_stream(file, schema) as stream:

        def write(texts: Sequence[Text], source: str | None) -> None:
            columns = {"text": list(_whole(texts)), "source": [source] * len(texts)}
            stream.write_batch(pa.record_batch([pa.array(columns[name], pa.string()) for name in names], schema=schema))

        yield write


def _whole(texts: Iterable[Text]) -> Iterator[str]:
    """Raises JobError for a document of several sequences: joined, it would give other tokens."""
    for text in texts:
        if isinstance(text, list):
            raise JobError(f"a document is a list of {len(text)} sequences: {text[0][:60]!r}…; write .jsonl")
        yield text


_FORMS: dict[str, Callable[[BinaryIO, bool], AbstractContextManager[Texts]]] = {
    ".jsonl": _json_lines,
    ".json": _json_lines,
    ".txt": _lines,
    ".arrow": _arrow,
}


@contextmanager
def _appearing(targets: Sequence[Path], *, with_source: bool) -> Iterator[list[Texts]]:
    """What writes to files under temporary names, which get their own when all is written; nothing is replaced.

    What an earlier attempt left that was killed is removed.
    """
    places = [target.resolve() for target in targets]
    for number, target in enumerate(targets):
        if places[number] in places[:number]:
            raise StoreError(f"{target}: given twice; leave one out")
        if target.exists() or target.is_symlink():
            raise StoreError(f"{target}: exists, and nothing is replaced: remove it, or choose another --to")
        if not target.absolute().parent.is_dir():
            raise StoreError(f"{target}: there is no such directory; make it first")
    unfinished = [target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp") for target in targets]
    try:
        with ExitStack() as stack:
            for path in unfinished:
                stack.callback(path.unlink, missing_ok=True)
            files = [stack.enter_context(path.open("xb")) for path in unfinished]
            for file, target in zip(files, targets, strict=True):
                lock(file.fileno())
                remove_left_over(target)
            with ExitStack() as writing:
                pairs = zip(targets, files, strict=True)
                yield [writing.enter_context(_FORMS[target.suffix](file, with_source)) for target, file in pairs]
            for file in files:
                file.flush()
                os.fsync(file.fileno())
            for path, target in zip(unfinished, targets, strict=True):
                path.rename(target)
            for directory in {target.absolute().parent for target in targets}:
                fsync_directory(directory)
    except OSError as error:
        where = f"{' and '.join(map(str, targets))}: {error.strerror or error}; nothing was made"
        if is_full(error):
            raise DiskFullError(f"{where}: free space there, or choose another --to") from error
        raise StoreError(where) from error
