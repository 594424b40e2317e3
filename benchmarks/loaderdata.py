"""What loaders are measured on: one directory of shards, its exports, and directories of very many documents."""

import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.measure import Command, measure, run_quietly
from benchmarks.workspace import Workspace
from shard.records.frozen import sealed_json
from shard.records.shards import read_shard

_FILES = 16


@dataclass(frozen=True)
class Data:
    """Made once and kept under the workspace."""

    workspace: Workspace
    megabytes: int
    """Of text."""
    context_length: int

    @property
    def directory(self) -> Path:
        return self.workspace.directory / "loader" / f"c{self.megabytes}"

    def shards(self) -> Path:
        """The corpus as a rank leaves it."""
        target = self.directory / "shards"
        if not target.exists():
            corpus = self.workspace.corpus(self.megabytes, _FILES)
            job = self.workspace.job(corpus, ranks=2, tokenizer="r50k_base", name="loader")
            run = Command(("-m", "shard", "run", "--job", str(job / "job")), frozenset(os.sched_getaffinity(0)))
            measure([run], self.workspace.directory / "log")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(job / "out" / "train", target)
        return target

    def export(self, format_name: str) -> Path:
        """The shards in another format. Samples, where it has them, are of one token more than the context."""
        shards = self.shards()
        cut = format_name == "mds"
        target = self.directory / (f"{format_name}-{self.context_length}" if cut else format_name)
        if not target.exists():
            length = ("--context-length", str(self.context_length + 1)) if cut else ()
            run_quietly("-m", "provision", "export", str(shards), "--format", format_name, "--to", str(target), *length)
        return target


def many_documents(source: Path, target: Path, documents: int, shard_documents: int = 1_000_000) -> Path:
    """A directory of so many documents in equal shards, all of them hard links to one payload and one index.

    The documents are the same few again and again; what a loader opens, maps and looks up is as large as it would be.
    """
    if target.exists():
        return target
    unfinished = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    shards = documents // shard_documents
    run_quietly("-m", "benchmarks.manydocs", str(source), str(unfinished), str(shard_documents), str(shards))
    first = read_shard(unfinished, "000000")
    for unit in range(1, shards):
        stem = f"{unit:06d}"
        for suffix in (".bin", ".idx"):
            os.link(unfinished / f"000000{suffix}", unfinished / f"{stem}{suffix}")
        (unfinished / f"{stem}.json").write_bytes(sealed_json(msgspec.structs.replace(first, unit=unit)))
    unfinished.rename(target)
    return target


def files_of(directory: Path) -> Iterator[Path]:
    """All files below it."""
    return (path for path in directory.rglob("*") if path.is_file())


def fetch(directories: list[Path]) -> None:
    """Bring all files below them into the page cache."""
    for path in itertools.chain.from_iterable(files_of(directory) for directory in directories):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def evict(directories: list[Path]) -> None:
    """Drop what the page cache has of all files below them."""
    os.sync()
    for path in itertools.chain.from_iterable(files_of(directory) for directory in directories):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
