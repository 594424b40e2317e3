"""shard/dedup/sources.py: which of several datasets a file is of."""

from pathlib import Path

import pytest

from shard.concat import concatenate
from shard.dedup.run import deduplicate, open_pair
from shard.dedup.sources import source_of, sources_of
from shard.errors import JobError
from shard.records.dedup import Scope, Settings
from shard.records.shards import SourceFacts, read_shard
from shard.storage.store import Directories
from shard.tokenizer.raw_bytes import ByteReference
from shard.verify.stores import verify
from tests.support.jobs import make_job, write_corpus
from tests.support.worker import write_all

NAMED = SourceFacts(dataset="web=owner/fine books=./books", revision="web=0123abc books=77ff", text_column="text")
JOINED = SourceFacts(dataset="owner/fine + owner/finer + owner/finer", revision="9d", text_column="text")
AGAIN = SourceFacts(dataset="a/ + b + c + web=owner/fine books=./books + a/b", revision="9d", text_column="text")
ALONE = SourceFacts(dataset="owner/fine", revision="0123abc", text_column="text")


@pytest.mark.parametrize(
    ("path", "facts", "expected"),
    [
        ("web/data/000.parquet", NAMED, "web"),
        ("books/web/000.parquet", NAMED, "books"),
        ("owner/fine/data/000.parquet", JOINED, "owner/fine"),
        ("owner/finer@0123456789ab/000.parquet", JOINED, "owner/finer@0123456789ab"),
        ("owner/finer@ba9876543210/000.parquet", JOINED, "owner/finer@ba9876543210"),
        ("0123456789ab/books/000.parquet", NAMED, "books"),
        ("a/ + b/a/000.parquet", AGAIN, "a/ + b/a"),
        ("a/ + b/b/000.parquet", AGAIN, "a/ + b/b"),
        ("b + c/b@0123456789ab/c/000.parquet", AGAIN, "b + c/b@0123456789ab"),
        ("b + c@0123456789ab/c/b/000.parquet", AGAIN, "b + c@0123456789ab/c"),
        ("c/b/000.parquet", AGAIN, "c"),
        ("web=owner/fine books=./books/books/web/000.parquet", AGAIN, "web=owner/fine books=./books/books"),
        ("a@0123456789ab/b/000.parquet", AGAIN, "a@0123456789ab"),
        ("a/b/000.parquet", AGAIN, "a/b"),
        ("data/000.parquet", ALONE, ""),
        ("owner/fine/000.parquet", ALONE, ""),
    ],
)
def test_source(path: str, facts: SourceFacts, expected: str) -> None:
    """A path begins with the name of its dataset where there are several, and says nothing where there is one."""
    assert source_of(path, facts) == expected


def test_what_was_appended_without_a_name() -> None:
    """Whether it is of the same dataset nobody knows: refused where that matters, also when it has been deduplicated
    once. Names stay known, however often more was appended and it was deduplicated."""
    paths = ["web/0.parquet", "data/0.parquet"]
    assert sources_of(paths, NAMED, appended=False, needed=True) == ["web", ""]
    assert sources_of(paths, NAMED, appended=True, needed=False) == ["", ""]
    assert sources_of(paths[:1], NAMED, appended=True, needed=True) == ["web"]
    for before in ("0123456789ab/", "0123456789ab/ba9876543210/"):
        assert sources_of([before + paths[0]], NAMED, appended=True, needed=True) == ["web"]
    for appended, before in ((True, ""), (False, "0123456789ab/")):
        with pytest.raises(JobError, match=rf"--scope source: {before}data/0.parquet, .* take --scope global"):
            sources_of([before + path for path in paths], NAMED, appended=appended, needed=True)


def joined(directories: list[Path], target: Path) -> Path:
    """Train and holdout of each, as train and holdout of one."""
    target.mkdir()
    both = [directory / split for directory in directories for split in ("train", "holdout")]
    concatenate(both, target / "train", target / "holdout")
    return target


@pytest.mark.parametrize(("scope", "stay"), [("source", 4), ("global", 1)])
def test_directories_joined_twice(scope: Scope, stay: int, tmp_path: Path) -> None:
    """Directories of this machine's files, joined and joined again, lose what stands twice in a dataset, or in all."""
    for name in "abcd":
        write_corpus(tmp_path / "in" / name, ["The same.", f"Of {name} alone.", "the  same."])
        write_all(make_job(tmp_path / "in" / name, tmp_path / name))
    pairs = [joined([tmp_path / name for name in names], tmp_path / names) for names in ("ab", "cd")]
    whole = joined(pairs, tmp_path / "abcd")
    found = deduplicate(
        open_pair([whole / "train", whole / "holdout"]), ByteReference(), Settings(scope=scope), tmp_path / "work"
    )
    assert found.duplicates.documents - len(found.duplicates.removed) == 4 + stay
    finals: Directories = {"train": tmp_path / "once", "holdout": tmp_path / "once_holdout"}
    assert sum(made.documents for made in found.write(finals, 1).values()) == 4 + stay
    report = verify(list(finals.values()))
    assert report.ok and report.coverage.complete, report.findings
    source = read_shard(finals["train"], "000003").source
    assert source == read_shard(whole / "train", "000003").source
