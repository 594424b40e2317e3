"""shard/source/parquet.py and shard/source/opened.py over local and other file systems."""

import io
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shard.batch import TextBatch
from shard.errors import SourceChangedError, SourceError, SourceReadError
from shard.records.unit import Unit
from shard.source.download import Scratch
from shard.source.opened import open_unit
from shard.source.parquet import RowGroups, open_parquet, read_texts, require_text_column, row_groups_of
from shard.source.readers import Taken
from shard.source.strings import text_batch
from tests.support.batches import documents_of
from tests.support.jobs import QUICK, files_dataset, files_units, write_corpus

MIXED = ["one", None, "", b"bad \xff\xfe", "zwei", b"\xed\xa0\x80", "三", "", None, "four\x00\ufeff"]
"""Good documents and every kind of row that is none."""


def strings(values: Sequence[str | bytes | None]) -> pa.Array:
    """A string array that may hold what is no UTF-8, as careless writers make them."""
    raw = [value.encode() if isinstance(value, str) else value for value in values]
    array = pa.array(raw, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(array), array.buffers(), array.null_count)


def parquet(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": array}), buffer, **options)
    return buffer.getvalue()


def unit_of(data: bytes, part: int = 0, parts: int = 1) -> Unit:
    return Unit(ordinal=part, path="f.parquet", size=len(data), content_id="etag:x", part=part, parts=parts)


def read(data: bytes, part: int = 0, parts: int = 1) -> tuple[RowGroups, list[TextBatch]]:
    file = open_parquet(io.BytesIO(data), where="f.parquet")
    require_text_column(file, "text", where="f.parquet")
    groups = row_groups_of(unit_of(data, part, parts), file, "text", where="f.parquet")
    return groups, list(read_texts(file, groups, "text", where="f.parquet"))


def documents_in(batches: list[TextBatch]) -> list[bytes]:
    return [document for batch in batches for document in documents_of(batch)]


def opened(root: Path | str, unit: Unit, scratch: Path) -> tuple[Taken, list[bytes]]:
    with open_unit(files_dataset(root), unit, QUICK, Scratch(scratch), {}) as found:
        documents = documents_in(list(found.texts))
        return found.taken(), documents


# Rows that are no document


@given(st.lists(st.one_of(st.none(), st.text(), st.binary())), st.integers(0, 3), st.integers(0, 3))
def test_text_batch(values: list[str | bytes | None], before: int, after: int) -> None:
    """Documents are the rows that are well-formed and not empty, in order; every other row is counted by reason; and
    where in its buffers the array stands does not matter."""
    expected, dropped = [], {"null": 0, "empty": 0, "invalid_utf8": 0}
    for value in values:
        data = value.encode() if isinstance(value, str) else value
        try:
            if data is None:
                dropped["null"] += 1
            elif not data:
                dropped["empty"] += 1
            else:
                data.decode()
                expected.append(data)
        except UnicodeDecodeError:
            dropped["invalid_utf8"] += 1
    batch = text_batch(strings(["x"] * before + values + ["y"] * after)[before : before + len(values)])
    assert (expected, dropped, len(values)) == (documents_of(batch), batch.dropped, batch.rows)
    assert int(batch.offsets[0]) == 0
    assert int(batch.offsets[-1]) == len(batch.data)


@pytest.mark.parametrize(
    "array",
    [
        strings(MIXED),
        strings(MIXED).cast(pa.large_string()),
        strings(MIXED).cast(pa.binary()).cast(pa.binary_view()).view(pa.string_view()),
        strings(MIXED).dictionary_encode(),
    ],
    ids=["string", "large_string", "string_view", "dictionary"],
)
def test_every_kind_of_string_column(array: Any) -> None:
    """Nulls, empty and ill-formed rows are dropped and counted, however the strings are stored."""
    _, batches = read(parquet(array))
    assert documents_in(batches) == [b"one", b"zwei", "三".encode(), "four\x00\ufeff".encode()]
    assert [batch.dropped for batch in batches] == [{"null": 2, "empty": 2, "invalid_utf8": 2}]


def test_all_rows_dropped() -> None:
    """A batch may hold no document at all."""
    _, batches = read(parquet(strings([None, "", b"\xff"])))
    assert documents_in(batches) == []
    assert [batch.rows for batch in batches] == [3]


# Which column


@pytest.mark.parametrize(
    "array",
    [
        *(pa.array([1]), pa.array([b"x"]), pa.array([{"a": "x"}])),
        *(pa.array([[1]]), pa.array([[["x"]]]), pa.array([[{"a": "x"}]])),
    ],
)
def test_a_column_of_something_else(array: Any) -> None:
    """A text column that holds neither strings nor lists of them is an error with its type and the remedy."""
    file = open_parquet(io.BytesIO(parquet(array)), where="f.parquet")
    with pytest.raises(SourceError, match=r"f\.parquet: column 'text' holds .*--text-column"):
        require_text_column(file, "text", where="f.parquet")


def test_a_missing_column() -> None:
    """A missing column is an error that names those there are."""
    file = open_parquet(io.BytesIO(parquet(pa.array(["x"]))), where="f.parquet")
    with pytest.raises(SourceError, match="no column 'body'; its columns are text"):
        require_text_column(file, "body", where="f.parquet")


def test_a_nested_field_of_the_same_name() -> None:
    """A nested field called like the text column does not stand in its way."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"meta": pa.array([{"text": "nested"}]), "text": ["top"]}), buffer)
    _, batches = read(buffer.getvalue())
    assert documents_in(batches) == [b"top"]


# Files without rows, and damaged files


@pytest.mark.parametrize("array", [pa.array([], pa.string())])
def test_no_rows(array: Any) -> None:
    """A file without rows is a unit without documents."""
    groups, batches = read(parquet(array))
    assert (groups.row_start, groups.row_end, groups.file_rows, documents_in(batches)) == (0, 0, 0, [])


def test_no_row_groups() -> None:
    """So is a file without row groups, in any number of parts."""
    buffer = io.BytesIO()
    pq.ParquetWriter(buffer, pa.schema({"text": pa.string()})).close()
    for part in range(3):
        groups, batches = read(buffer.getvalue(), part, 3)
        assert (groups.indices, groups.row_start, groups.row_end, batches) == ((), 0, 0, [])


@pytest.mark.parametrize(
    "data",
    [b"", b"PAR1", b"hello world, this is no parquet", parquet(strings(["x"] * 100))[:-20], b"\0" * 1000],
    ids=["empty", "magic", "text", "truncated", "zeros"],
)
def test_not_a_whole_parquet_file(data: bytes, tmp_path: Path) -> None:
    """A file that is empty, truncated, or something else, is an error that names it, and no second try will help."""
    (tmp_path / "f.parquet").write_bytes(data)
    (unit,) = files_units(tmp_path)
    with pytest.raises(SourceError, match=r"f\.parquet: not a whole Parquet file") as caught:
        opened(tmp_path, unit, tmp_path / "scratch")
    assert not caught.value.retryable


def test_wrong_bytes_in_a_page_with_checksum(documents: list[str]) -> None:
    """Where pages have checksums, one flipped bit anywhere in the text's pages is found."""
    data = bytearray(parquet(pa.array(documents[:50]), write_page_checksum=True, compression="none"))
    position = bytes(data).index(documents[30].encode()[:60])
    data[position] ^= 1
    with pytest.raises(SourceReadError, match=r"f\.parquet: after row"):
        read(bytes(data))


def test_wrong_bytes_in_a_compressed_page(documents: list[str]) -> None:
    """Overwritten pages are an error or other text, and never end the process."""
    data = parquet(pa.array(documents[:50]), compression="zstd")
    damaged = data[:500] + b"\xff" * 5000 + data[5500:]
    with pytest.raises(SourceReadError, match=r"f\.parquet"):
        read(damaged)


# Parts


@st.composite
def files_in_parts(draw: st.DrawFn) -> tuple[list[str], bytes]:
    rows = [f"{i}:" + "x" * length for i, length in enumerate(draw(st.lists(st.integers(0, 200), max_size=60)))]
    options = {
        "row_group_size": draw(st.integers(1, 20)),
        "compression": draw(st.sampled_from(["none", "snappy"])),
        "use_dictionary": draw(st.booleans()),
    }
    return rows, parquet(pa.array(rows, pa.string()), **options)


@settings(deadline=None)
@given(files_in_parts(), st.integers(1, 40))
def test_parts_cover_all_rows_once(file: tuple[list[str], bytes], parts: int) -> None:
    """Cut into any number of parts, the parts' rows follow each other without gap or overlap and are all rows."""
    rows, data = file
    found, end = [], 0
    for part in range(parts):
        groups, batches = read(data, part, parts)
        assert (groups.row_start, groups.file_rows) == (end, len(rows))
        assert sum(batch.rows for batch in batches) == groups.row_end - groups.row_start
        end = groups.row_end
        found += documents_in(batches)
    assert end == len(rows)
    assert [row.encode() for row in rows] == found


def test_batches_follow_the_row_groups() -> None:
    """A file whose documents grow longer is decoded with fewer and fewer rows at once: no batch is far over 8 MiB."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, pa.schema({"text": pa.string()}), use_dictionary=False) as writer:
        for rows, length in ((4000, 100), (1000, 5_000), (200, 100_000)):
            writer.write_table(pa.table({"text": ["é" * (length // 2)] * rows}), row_group_size=rows)
    _, batches = read(sink.getvalue())
    assert sum(batch.rows for batch in batches) == 5200
    assert max(len(batch.data) for batch in batches) < 9 << 20
    assert len(batches) < 20


_MEMORY_PROGRAM = """
import resource, sys
from pathlib import Path
from shard.source.parquet import open_parquet, read_texts, row_groups_of
from shard.records.unit import Unit
import os
size = os.path.getsize(sys.argv[1])
unit = Unit(ordinal=0, path="f", size=size, content_id="etag:x")
file = open_parquet(Path(sys.argv[1]), where="f")
groups = row_groups_of(unit, file, "text", where="f")
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = sum(len(batch.data) for batch in read_texts(file, groups, "text", where="f"))
print(len(groups.indices), total, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) * 1024)
"""


@pytest.mark.slow
def test_one_huge_row_group_stays_flat_in_memory(tmp_path: Path, documents: list[str]) -> None:
    """A row group of 300 MB is read with an eighth of that."""
    path = tmp_path / "huge.parquet"
    copies = (300 << 20) // sum(map(len, documents))
    rows = [f"{i} {document}" for i in range(copies) for document in documents]
    pq.write_table(pa.table({"text": rows}), path, row_group_size=len(rows), compression="snappy")
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY_PROGRAM, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    groups, total, grown = map(int, done.stdout.split())
    assert (groups, total) == (1, sum(len(row.encode()) for row in rows))
    assert total > 250 << 20
    assert grown < total / 8, f"{grown >> 20} MiB for a row group of {total >> 20} MiB"


# Where files lie


def test_a_directory(corpus_dir: Path, documents: list[str], tmp_path: Path) -> None:
    """Files of a local directory, in parts, are read in place."""
    found: list[bytes] = []
    for unit in files_units(corpus_dir, parts=2):
        found += opened(corpus_dir, unit, tmp_path / "scratch")[1]
    assert [document.encode() for document in documents] == found
    assert not (tmp_path / "scratch").exists()


def test_another_file_system(corpus_dir: Path, documents: list[str], tmp_path: Path) -> None:
    """Files behind an fsspec URL are read by spans and give the same documents."""
    memory = fsspec.filesystem("memory")
    memory.put(str(corpus_dir), "/corpus", recursive=True)
    with ExitStack() as stack:
        stack.callback(memory.rm, "/corpus", recursive=True)
        found: list[bytes] = []
        for unit in files_units("memory://corpus"):
            found += opened("memory://corpus", unit, tmp_path / "scratch")[1]
    assert [document.encode() for document in documents] == found


def test_names_with_odd_characters(tmp_path: Path) -> None:
    """Quotes, spaces, dollars and other scripts in a path are just characters."""
    odd = "sub dir/a'b\"c $(touch x) #1?%41 ünï中.parquet"
    write_corpus(tmp_path / "in", ["hello"])
    (tmp_path / "in" / "sub dir").mkdir()
    (tmp_path / "in" / "part-0.parquet").rename(tmp_path / "in" / odd)
    (unit,) = files_units(tmp_path / "in")
    assert unit.path == odd
    assert opened(tmp_path / "in", unit, tmp_path / "scratch")[1] == [b"hello"]


@pytest.mark.parametrize("url", ["{}", "file://{}"])
def test_a_file_that_changed(url: str, tmp_path: Path) -> None:
    """A file that is gone, or has other content than was planned, is refused."""
    root = url.format(tmp_path)
    path = write_corpus(tmp_path, ["hello"]) / "part-0.parquet"
    (unit,) = files_units(root)
    write_corpus(tmp_path, ["world"])
    assert path.stat().st_size == unit.size
    with pytest.raises(SourceChangedError, match="changed since it was planned"):
        opened(root, unit, tmp_path / "scratch")
    path.unlink()
    with pytest.raises(SourceChangedError, match="not there"):
        opened(root, unit, tmp_path / "scratch")


def test_a_copy_is_the_same_file(corpus_dir: Path, tmp_path: Path) -> None:
    """Content ids of local files depend on the content alone."""
    write_corpus(tmp_path, pq.read_table(corpus_dir)["text"].to_pylist(), files=4)
    assert files_units(corpus_dir) == files_units(tmp_path)
