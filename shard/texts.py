"""`shardfleet text`: the documents of a dataset, in dataset order, as JSON lines or as lines.

They are read as a run reads them, so what a run would drop is dropped and counted here, too. Nothing is tokenized.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from shard.dataset import Dataset
from shard.disk import disk_full_named, fsync_directory
from shard.errors import JobError, StoreError
from shard.job import Unit
from shard.source.parts import opening

Encode = Callable[[str, dict[str, str]], bytes]
"""(document, what else is said of it) → its line."""


@dataclass(slots=True)
class Texts:
    """What was written to each file."""

    documents: int = 0
    text_bytes: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """Rows that are no document, by reason."""


def write_texts(dataset: Dataset, units: Sequence[Unit], locations: dict[str, str], targets: Sequence[Path]) -> Texts:
    """Write every document to each of the targets, which appear when all of them are complete.

    A line of `.jsonl` has `text`, and `source` where several datasets are named; one of `.txt` is the document itself.
    Raises JobError or StoreError for targets that cannot be, and for a document that is no line of `.txt`;
    SourceError, DiskFullError. Then there are none.
    """
    encoders = [_encoder(target) for target in targets]
    done = Texts()
    with _appearing(targets) as files, opening(dataset, locations) as open_unit:
        for unit in units:
            said = {"source": unit.path.partition("/")[0]} if dataset.named else {}
            with open_unit(unit) as batches:
                for batch in batches:
                    texts = [str(batch.document(number), "utf-8") for number in range(batch.documents)]
                    for target, file, encode in zip(targets, files, encoders, strict=True):
                        with disk_full_named(target):
                            file.write(b"".join([encode(text, said) for text in texts]))
                    done.documents += batch.documents
                    done.text_bytes += len(batch.data)
                    for reason, rows in batch.dropped.items():
                        done.dropped[reason] = done.dropped.get(reason, 0) + rows
    return done


def _encoder(target: Path) -> Encode:
    if target.suffix not in _ENCODERS:
        raise JobError(f"--to {target}: its suffix must be one of {', '.join(_ENCODERS)}")
    return _ENCODERS[target.suffix]


def _json_line(text: str, said: dict[str, str]) -> bytes:
    return msgspec.json.encode({"text": text, **said}) + b"\n"


def _line(text: str, said: dict[str, str]) -> bytes:
    """Raises JobError for a document that would come back as several, or as another."""
    if "\n" in text or text.endswith("\r"):
        raise JobError(
            f"a document has line ends in it, and in .txt every line is a document: {text[:60]!r}…; write .jsonl"
        )
    return text.encode() + b"\n"


_ENCODERS: dict[str, Encode] = {".jsonl": _json_line, ".json": _json_line, ".txt": _line}


@contextmanager
def _appearing(targets: Sequence[Path]) -> Iterator[Sequence[BinaryIO]]:
    """Files under temporary names, which get their own when all is written; nothing is replaced."""
    for number, target in enumerate(targets):
        if target.exists() or target.is_symlink() or target in targets[:number]:
            raise StoreError(f"{target}: exists, and nothing is replaced: remove it, or choose another --to")
    unfinished = [target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp") for target in targets]
    with ExitStack() as stack:
        for path in unfinished:
            stack.callback(path.unlink, missing_ok=True)
        try:
            files = [stack.enter_context(path.open("xb")) for path in unfinished]
        except OSError as error:
            target = targets[unfinished.index(Path(error.filename))]
            raise StoreError(f"{target}: {error.strerror}; --to names files in directories that exist") from error
        yield files
        for file, path, target in zip(files, unfinished, targets, strict=True):
            with disk_full_named(target):
                file.flush()
                os.fsync(file.fileno())
            path.rename(target)
        for directory in {target.absolute().parent for target in targets}:
            fsync_directory(directory)
