"""shard/dedup/sources.py: which of several datasets a file is of."""

import pytest

from shard.dedup.sources import source_of
from shard.records import SourceFacts

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
