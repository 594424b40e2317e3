"""Which files an import takes, in which order, and which of them are for holdout (pure but for the listing)."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from shard.errors import JobError, SourceError
from shard.records.frozen import is_text
from shard.records.shards import Split

_WORD = re.compile(r"[a-z]+")
_HELD_OUT = frozenset({"val", "valid", "validation", "test", "eval", "holdout"})


@dataclass(frozen=True, slots=True)
class Source:
    """One input file: a unit."""

    name: str
    """Relative to what was given."""
    payload: Path
    split: Split = "train"
    index: Path | None = None
    """Where its documents begin, in formats that have a file for that."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.payload,) if self.index is None else (self.payload, self.index)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.stat().st_size for file in self.files)

    def sha256(self) -> str:
        """Over the sha256 of each file. Raises SourceError for one that cannot be read."""
        whole = hashlib.sha256()
        for path in self.files:
            try:
                with path.open("rb") as file:
                    whole.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise SourceError(f"{path}: {error.strerror or error}") from error
        return whole.hexdigest()

    def state(self) -> list[tuple[int, int]]:
        """Changes when one of its files does."""
        return [(stat.st_size, stat.st_mtime_ns) for stat in (file.stat() for file in self.files)]


def listed(path: Path, *patterns: str) -> list[tuple[str, Path, Split]]:
    """(name, file, split) of every file below a directory that matches a pattern, sorted by name; or of a file itself.

    A file is for holdout when a word of its relative path is val, valid, validation, test, eval or holdout; one that is
    given by itself is always for train. Raises JobError when there is none, SourceError for a directory that cannot be
    listed.
    """
    if not is_text(str(path)):
        raise JobError(f"{path!r}: a path that is not UTF-8; rename it")
    if path.is_file():
        return [(path.name, path, "train")]
    if not path.is_dir():
        raise JobError(f"{path}: no such file or directory")
    found = [file for file in _below(path) if any(fnmatchcase(file.name, pattern) for pattern in patterns)]
    named = sorted((file.relative_to(path).as_posix(), file) for file in found if file.is_file())
    visible = [(name, file, split_of(name)) for name, file in named]
    for name, _, _ in visible:
        if not is_text(name):
            raise JobError(f"{path}: {name!r}: a file name that is not UTF-8; rename it")
    if not visible:
        raise JobError(f"{path}: holds no {' or '.join(patterns)}; is it of another --format?")
    return visible


def _below(path: Path) -> Iterator[Path]:
    """What is not hidden. Not rglob, which leaves out directories that it may not list."""

    def refuse(error: OSError) -> None:
        raise SourceError(f"{error.filename}: cannot be listed: {error.strerror}") from error

    for folder, below, names in os.walk(path, onerror=refuse):
        below[:] = [name for name in below if not name.startswith(".") and name != "lost+found"]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def split_of(name: str) -> Split:
    """Where a file of this relative path belongs."""
    return "holdout" if _HELD_OUT.intersection(_WORD.findall(name.lower())) else "train"


def in_order(sources: Iterable[Source]) -> list[Source]:
    """Train before holdout, each in the order in which its format has them: the order of units."""
    return sorted(sources, key=lambda source: source.split == "holdout")
