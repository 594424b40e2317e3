"""Everything that is read besides Parquet: what becomes a document, what is dropped, what is an error."""

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import fsspec
import msgspec
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from provision.catalog.types import DatasetSpec
from provision.plan.units import units_of
from provision.prepare.prepare import list_dataset
from shard.errors import SourceChangedError, SourceError, SourceKindError, SourceReadError
from shard.records.inputs import Input
from shard.records.job import Holdout, Job
from shard.records.unit import Unit
from shard.source.download import Scratch
from shard.source.lines import Block, Part, blocks
from shard.source.opened import open_unit
from shard.source.readers import Taken, whole_document
from shard.source.text import line_texts
from shard.verify.stores import verify
from tests.support.batches import documents_of
from tests.support.inputs import (
    FORMATS,
    PER_LINE,
    arrow_stream,
    json_lines,
    named,
    planned_job,
    tar_of,
    text_lines,
)
from tests.support.jobs import QUICK, make_job
from tests.support.text import real_documents
from tests.support.worker import write_all

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def documents() -> list[str]:
    """Real text in one line each, so that every format can hold it."""
    return [" ".join(document.split()) for document in real_documents(300)]


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()


def folder(tmp_path: Path, **files: bytes) -> Path:
    directory = tmp_path / "in"
    directory.mkdir()
    for name, data in files.items():
        (directory / name.replace("__", ".")).write_bytes(data)
    return directory


def read(job: Job, unit: Unit | None = None) -> tuple[list[str], dict[str, int], Taken]:
    """Documents of a unit, rows dropped by reason, rows taken."""
    with open_unit(job.dataset, unit or job.units[0], QUICK, Scratch(Path("/nowhere")), {}) as opened:
        batches = list(opened.texts)
        dropped: dict[str, int] = {}
        for batch in batches:
            for reason, rows in batch.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + rows
            assert batch.rows == batch.documents + sum(batch.dropped.values())
        taken = opened.taken()
    assert sum(batch.rows for batch in batches) == taken.row_end - taken.row_start
    found = [bytes(document).decode() for batch in batches for document in documents_of(batch)]
    return found, {reason: rows for reason, rows in dropped.items() if rows}, taken


def read_all(
    root: Path, tmp_path: Path, form: Input | None = None, column: str = "text"
) -> tuple[list[str], dict[str, int]]:
    found, dropped, _ = read(planned_job(root, tmp_path / "out", form, column=column))
    return found, dropped


# The same documents


def test_same_documents_give_the_same_payloads(documents: list[str], tmp_path: Path) -> None:
    """Whatever documents are written as, payloads and indexes of both splits are the same bytes."""
    written: dict[str, list[bytes]] = {}
    for name, (write, form) in FORMATS.items():
        (tmp_path / name / "in").mkdir(parents=True)
        write(tmp_path / name / "in", documents)
        job = planned_job(tmp_path / name / "in", tmp_path / name / "out", form)
        assert len(job.units) == 1
        records = write_all(job)[0]
        assert records["train"].documents + records["holdout"].documents == len(documents)
        written[name] = [
            (tmp_path / name / "out" / split / f"000000.{suffix}").read_bytes()
            for split in ("train", "holdout")
            for suffix in ("bin", "idx")
        ]
        report = verify([tmp_path / name / "out" / split for split in ("train", "holdout")])
        assert report.coverage.complete and report.findings == []
    assert all(files == written["parquet"] for files in written.values())
    assert len(written["parquet"][0]) > 100_000


@pytest.mark.parametrize(("name", "form"), [("a.jsonl", Input()), ("a.txt", PER_LINE)])
def test_parts_of_a_file_together_are_the_file(name: str, form: Input, documents: list[str], tmp_path: Path) -> None:
    """A large file of lines is cut into units; in a row they give what the whole gives, and coverage is proven."""
    encode = json_lines if name.endswith("l") else text_lines
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(encode(documents[:200]))
    whole = planned_job(tmp_path / "in", tmp_path / "whole", form)
    cut = planned_job(tmp_path / "in", tmp_path / "cut", form, unit_bytes=20_000)
    assert len(cut.units) > 20
    for job in (whole, cut):
        write_all(job)
    for split in ("train", "holdout"):
        pieces = [(tmp_path / "cut" / split / f"{unit.stem}.bin").read_bytes() for unit in cut.units]
        assert (tmp_path / "whole" / split / "000000.bin").read_bytes() == b"".join(pieces)
    report = verify([tmp_path / "cut" / split for split in ("train", "holdout")])
    assert (report.coverage.complete, report.coverage.rows, report.findings) == (True, 200, [])


def test_identity_of_other_inputs(documents: list[str], tmp_path: Path) -> None:
    """How text is read is part of the fingerprint where it makes a difference, and only there."""
    root = folder(tmp_path, a__txt=text_lines(documents[:5]))
    identities = {
        form: planned_job(root, tmp_path / "out", form).identity
        for form in (Input(), Input(format="text"), PER_LINE, Input(drop_empty_lines=True))
    }
    assert identities[Input()] == identities[Input(format="text")]
    assert len({identity.fingerprint for identity in identities.values()}) == 3
    assert "input" not in msgspec.to_builtins(identities[Input()])


# JSON lines


def test_rows_of_json_lines_that_are_no_documents(tmp_path: Path) -> None:
    """Null, missing, empty, of another type, and ill-formed text are dropped and counted; the rest stays in order."""
    lines = [
        b'{"text": "one"}', b'{"text": null}', b'{"id": 1}', b'{"text": ""}', b'{"text": 3}', b'{"text": [["x"]]}',
        b'{"text": {"a": "b"}}', b'{"text": true}', b"", b"  ", b'{"text": "\\ud800"}', b'{"text": "\xff"}',
        b'{"text": "two", "id": NaN}', b'{"text": "a", "text": "three"}', b'{"id": 1e999, "text": "fo\\u0075r"}',
        b'{"id": ' + b"9" * 5000 + b', "text": "\\ud83d\\ude00"}',
    ]  # fmt: skip
    found, dropped, taken = read(planned_job(folder(tmp_path, a__jsonl=b"\n".join(lines)), tmp_path / "out"))
    assert found == ["one", "two", "three", "four", "😀"]
    assert dropped == {"null": 2, "empty": 1, "not_text": 4, "invalid_utf8": 2}
    assert (taken.row_start, taken.row_end, taken.lines) == (0, 14, None)


def test_json_lines_of_another_column(tmp_path: Path) -> None:
    """--text-column names the member that is the document."""
    root = folder(tmp_path, a__ndjson=b'{"text": "no", "body": "yes"}\n')
    assert read_all(root, tmp_path, column="body") == (["yes"], {})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "cut', "not JSON"),
        (b'{"text": "a"} {"text": "b"}', "not JSON"),
        (b"[1]", "no object, but a list"),
        (b'"x"', "no object, but a str"),
        (b'{"text": "a\tb"}', "not JSON"),
        (b"\0", "not JSON"),
        (b'{"text": "a", "x": ' + b"[" * 100_000 + b"}", "not JSON"),
    ],
    ids=["cut", "two objects", "list", "string", "control character", "nul", "deep"],
)
def test_broken_json_line(line: bytes, message: str, tmp_path: Path) -> None:
    """A line that is no JSON object fails the unit; the message names file, line and byte."""
    good = b'{"text": "good"}\n'
    job = planned_job(folder(tmp_path, a__jsonl=good * 1000 + line + b"\n" + good * 10), tmp_path / "out")
    with pytest.raises(SourceError, match=rf"a\.jsonl: line 1001 \(byte 17000\): .*{message}"):
        write_all(job)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.startswith("000000")]


def test_byte_of_a_broken_line_counts_the_mark(tmp_path: Path) -> None:
    """The byte that is named is that of the file, of which a byte-order mark is a part."""
    job = planned_job(folder(tmp_path, a__jsonl=b'\xef\xbb\xbf{"text": "a"}\noops\n'), tmp_path / "out")
    with pytest.raises(SourceError, match=r"line 2 \(byte 17\): not JSON: Expecting value at its character 1$"):
        read(job)


def test_objects_that_span_lines_are_refused(tmp_path: Path) -> None:
    """An object that is spread over lines is no JSON line, wherever in a block it stands."""
    job = planned_job(folder(tmp_path, a__jsonl=b'{"text": "a"}\n{\n"text": "b"\n}\n'), tmp_path / "out")
    with pytest.raises(SourceError, match=r"line 2 \(byte 14\): not JSON"):
        read(job)


def test_broken_line_of_a_part(documents: list[str], tmp_path: Path) -> None:
    """In a part of a file the line is counted from the part's first, and the byte is that of the file."""
    data = json_lines(documents[:100])
    where = data.index(b"\n", len(data) // 2 + 5000) + 1
    job = planned_job(folder(tmp_path, a__jsonl=data[:where] + b"oops\n" + data[where:]), tmp_path / "out",
                      unit_bytes=len(data) // 2 + 10)  # fmt: skip
    assert len(job.units) == 2
    read(job, job.units[0])
    with pytest.raises(SourceError, match=rf"a\.jsonl, part 2 of 2: line \d+ \(byte {where}\): not JSON"):
        read(job, job.units[1])


def test_line_of_many_megabytes(tmp_path: Path) -> None:
    """A line is as long as it is: 20 MB among short ones, in whole files and in parts of one megabyte."""
    texts = ["before", "x" * 20_000_000, "after"]
    for name, data, form in (("j", json_lines(texts), Input()), ("t", text_lines(texts), PER_LINE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / ("a.jsonl" if name == "j" else "a.txt")).write_bytes(data)
        assert read(planned_job(tmp_path / name, tmp_path / "out", form))[0] == texts
        job = planned_job(tmp_path / name, tmp_path / "out", form, unit_bytes=1 << 20)
        parts = [read(job, unit) for unit in job.units]
        assert [document for found, _, _ in parts for document in found] == texts
        assert sum(taken.lines is not None and taken.lines.empty for _, _, taken in parts) == len(parts) - 2


# Lines


@given(
    st.lists(st.sampled_from([b"", b"a", b"bc", b"\r", b"d" * 9, b" ", b"\xff"]), max_size=30),
    st.sampled_from([b"", b"\n", b"\r\n"]),
    st.integers(1, 9),
    st.integers(1, 12),
)
def test_every_line_is_in_one_part(lines: list[bytes], end: bytes, parts: int, block_bytes: int) -> None:
    """However a file is cut and read, each line is in the part that holds its first byte, and parts chain by bytes."""
    data = (end or b"\n").join(lines) + (end if lines else b"")
    expected = [line + b"\n" for line in data.split(b"\n")]
    expected = [*expected[:-1], *([expected[-1][:-1]] if expected[-1] != b"\n" else [])]
    starts = [sum(map(len, expected[:number])) for number in range(len(expected))]
    reached = 0
    for part in range(parts):
        start, stop = len(data) * part // parts, len(data) * (part + 1) // parts
        found = list(blocks(io.BytesIO(data), Part(start, stop), where="f", block_bytes=block_bytes))
        wanted = [line for line, first in zip(expected, starts, strict=True) if start <= first < stop]
        assert b"".join(block.data for block in found) == b"".join(wanted)
        for block in found:
            assert block.start == reached
            reached = block.end
    assert reached == len(data)


@given(st.lists(st.sampled_from(["", "a", " ", "\t \v", "ä b", "\r", "c\r"]), max_size=12), st.booleans())
def test_text_lines_against_a_plain_loop(lines: list[str], drop: bool) -> None:
    """Lines end with LF or CRLF; empty ones, and with the option those of white space, are dropped and counted."""
    data = "\n".join(lines).encode()
    found = list(line_texts([Block(data, 0, len(data), 1, 0)], drop_blank=drop))
    rows = data.decode().removesuffix("\n").split("\n") if data else []
    rows = [row.removesuffix("\r") if number < data.count(b"\n") else row for number, row in enumerate(rows)]
    expected = [row for row in rows if row and (row.strip(" \t\r\v\f") or not drop)]
    assert [d.decode() for batch in found for d in documents_of(batch)] == expected
    assert sum(batch.rows for batch in found) == len(rows)
    assert sum(batch.dropped["empty"] for batch in found) == len(rows) - len(expected)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    """Lines, files and members that are not UTF-8 are dropped and counted; their neighbours stay."""
    latin = "naïve".encode("latin-1")
    root = folder(tmp_path, a__txt=b"one\n" + latin + b"\ntwo")
    assert read_all(root, tmp_path, PER_LINE) == (["one", "two"], {"invalid_utf8": 1})
    (root / "b.txt").write_bytes(b"whole\n")
    assert read_all(root, tmp_path) == (["whole\n"], {"invalid_utf8": 1})
    (root / "a.txt").unlink()
    (root / "b.txt").unlink()
    (root / "c.tar").write_bytes(tar_of([("1.txt", b"one"), ("2.txt", latin), ("3.txt", b"two")]))
    assert read_all(root, tmp_path) == (["one", "two"], {"invalid_utf8": 1})


def test_byte_order_mark_and_line_ends(tmp_path: Path) -> None:
    """A file's byte-order mark is no text. Lines lose CRLF; whole files keep what they have."""
    mark = b"\xef\xbb\xbf"
    root = folder(tmp_path, a__txt=mark + b"one\r\ntwo\r\n")
    assert read_all(root, tmp_path, PER_LINE) == (["one", "two"], {})
    assert read_all(root, tmp_path) == (["one\r\ntwo\r\n"], {})
    (root / "b.txt").write_bytes(mark + b"b")
    assert read_all(root, tmp_path) == (["one\r\ntwo\r\n", "b"], {})
    for name in ("a.txt", "b.txt"):
        (root / name).unlink()
    (root / "c.jsonl").write_bytes(mark + b'{"text": "c"}\r\n\r\n')
    assert read_all(root, tmp_path) == (["c"], {})
    (root / "c.jsonl").unlink()
    (root / "d.tar").write_bytes(tar_of([("d.txt", mark + b"d")]))
    assert read_all(root, tmp_path) == (["d"], {})


def test_drop_empty_lines(tmp_path: Path) -> None:
    """Of whole files and members the lines of white space go, as in nanoGPT-extra; of lines, such documents."""
    text = b"\n  \nfirst\n\t\n\nsecond \n \n"
    root = folder(tmp_path, a__txt=text, b__txt=b" \n")
    assert read_all(root, tmp_path, Input(drop_empty_lines=True)) == (["first\nsecond \n"], {"empty": 1})
    both = Input(document_per_line=True, drop_empty_lines=True)
    assert read_all(root, tmp_path, both) == (["first", "second "], {"empty": 5})
    assert read_all(root, tmp_path, PER_LINE) == (["  ", "first", "\t", "second ", " "], {"empty": 2})
    for name in ("a.txt", "b.txt"):
        (root / name).unlink()
    (root / "c.tar.gz").write_bytes(gzip.compress(tar_of([("a.txt", text)])))
    assert read_all(root, tmp_path, Input(drop_empty_lines=True)) == (["first\nsecond \n"], {})


def test_a_return_alone_ends_no_line(tmp_path: Path) -> None:
    """A CR within a line is part of it, also where lines of white space go: what ends the line stays."""
    root = folder(tmp_path, a__txt=b"first\r\r\n\r\r\nsecond\r \nthird")
    assert read_all(root, tmp_path, Input(drop_empty_lines=True)) == (["first\r\r\nsecond\r \nthird"], {})
    both = Input(document_per_line=True, drop_empty_lines=True)
    assert read_all(root, tmp_path, both) == (["first\r", "second\r ", "third"], {"empty": 1})


def test_empty_files(tmp_path: Path) -> None:
    """An empty file has no rows; where every file is a document, it is an empty one."""
    root = folder(tmp_path, a__jsonl=b"", b__jsonl=b'{"text": "b"}', c__jsonl__gz=gzip.compress(b""))
    job = planned_job(root, tmp_path / "out")
    assert [read(job, unit)[:2] for unit in job.units] == [([], {}), (["b"], {}), ([], {})]
    for path in root.iterdir():
        path.unlink()
    (root / "a.txt").write_bytes(b"")
    (root / "b.txt").write_bytes(b"b")
    assert read_all(root, tmp_path) == (["b"], {"empty": 1})
    assert read_all(root, tmp_path, PER_LINE)[0] == []


# Many small files


def test_small_files_share_units(documents: list[str], tmp_path: Path) -> None:
    """Neighbouring files of a document each fill units up to --unit-size, in the order of their paths."""
    FORMATS["files"][0](tmp_path, documents)
    job = planned_job(tmp_path / "d", tmp_path / "out", unit_bytes=100_000)
    assert 1 < len(job.units) < 50
    assert all(unit.bytes <= 100_000 for unit in job.units)
    write_all(job)
    report = verify([tmp_path / "out" / split for split in ("train", "holdout")])
    assert (report.coverage.complete, report.coverage.rows, report.findings) == (True, 300, [])
    assert [document for unit in job.units for document in read(job, unit)[0]] == documents


def test_a_file_of_a_group_that_changed(documents: list[str], tmp_path: Path) -> None:
    """When one of the files of a unit is not the planned one, the unit fails, and names that file."""
    FORMATS["files"][0](tmp_path, documents[:20])
    job = planned_job(tmp_path / "d", tmp_path / "out")
    (tmp_path / "d" / "000007.txt").write_text("other")
    with pytest.raises(SourceChangedError, match=r"000007\.txt: changed since it was planned"):
        read(job)


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_an_archive_that_is_called_text(
    scheme: str, documents: list[str], memory: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    """An archive under the name of a text would be taken for one, headers and all: its unit fails and names it. A text
    with the word there is a text."""
    FORMATS["files"][0](tmp_path, documents[:20])
    (tmp_path / "d" / "000003.txt").write_bytes(b"x" * 257 + b"ustar" + b"x" * 500)
    (tmp_path / "d" / "000007.txt").write_bytes(tar_of(named(documents[20:23])))
    memory.put(str(tmp_path / "d"), f"{tmp_path}/d", recursive=True)
    with pytest.raises(SourceKindError, match=r"d/000007\.txt: a tar archive"):
        read(planned_job(f"{scheme}{tmp_path}/d", tmp_path / "out"))
    (tmp_path / "d" / "000007.txt").unlink()
    assert len(read(planned_job(tmp_path / "d", tmp_path / "out"))[0]) == 19


# Compressed files and archives


@pytest.mark.parametrize(
    "name", ["a.jsonl.gz", "a.jsonl.zst", "a.tar", "a.tar.gz", "a.txt.zst", "a.arrow", "a.feather"]
)
@pytest.mark.parametrize("kept", [0.3, 0.9, -1])
def test_file_that_is_cut_short(name: str, kept: float, documents: list[str], tmp_path: Path) -> None:
    """A file that is cut short fails the unit, with its name, and nothing is written of it."""
    data = _file_named(name, documents[:50], tmp_path)
    cut = data[: int(len(data) * kept)] if kept > 0 else data[:-1]
    if name == "a.tar":
        cut = data[: data.rindex(documents[49].encode()[-20:]) // 512 * 512 + 512] if kept < 0 else cut
    form = PER_LINE if name == "a.txt.zst" else Input()
    root = folder(tmp_path)
    (root / name).write_bytes(cut)
    job = planned_job(root, tmp_path / "out", form)
    with pytest.raises(SourceError, match=name.replace(".", r"\.")):
        write_all(job)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.startswith("000000")]


def _file_named(name: str, documents: Sequence[str], tmp_path: Path) -> bytes:
    lines = json_lines(documents)
    if name == "a.feather":
        FORMATS["feather"][0](tmp_path, documents)
        return (tmp_path / name).read_bytes()
    return {
        "a.jsonl.gz": lambda: gzip.compress(lines),
        "a.jsonl.zst": lambda: zstandard.compress(lines),
        "a.tar": lambda: tar_of(named(documents)),
        "a.tar.gz": lambda: gzip.compress(tar_of(named(documents))),
        "a.txt.zst": lambda: zstandard.compress(text_lines(documents)),
        "a.arrow": lambda: arrow_stream(documents),
    }[name]()


def test_joined_compressed_files(tmp_path: Path) -> None:
    """gzip members and zstd frames behind one another are one file, as cat makes them."""
    one, two = b'{"text": "one"}\n', b'{"text": "two"}\n'
    root = folder(tmp_path, a__jsonl__gz=gzip.compress(one) + gzip.compress(two))
    assert read_all(root, tmp_path) == (["one", "two"], {})
    (root / "a.jsonl.gz").unlink()
    (root / "a.jsonl.zst").write_bytes(zstandard.compress(one) + zstandard.compress(two))
    assert read_all(root, tmp_path) == (["one", "two"], {})


def test_damaged_compressed_file(documents: list[str], tmp_path: Path) -> None:
    """A checksum that does not fit fails the unit."""
    data = bytearray(gzip.compress(json_lines(documents[:20])))
    data[-6] ^= 1
    with pytest.raises(SourceReadError, match=r"a\.jsonl\.gz: .*incorrect data check"):
        read_all(folder(tmp_path, a__jsonl__gz=bytes(data)), tmp_path)


def test_members_of_a_tar(tmp_path: Path) -> None:
    """Regular members named .txt are documents in the archive's order; others are counted, unless tar is forced."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in (
            ("z/b.txt", b"b"),
            ("a.txt", b"a"),
            ("x.json", b"{}"),
            ("._a.txt", b"fork"),
            ("n" * 150 + ".txt", b"c"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE):
            member = tarfile.TarInfo("d.txt")
            member.type = kind
            member.linkname = "a.txt"
            archive.addfile(member)
    root = folder(tmp_path, a__tar=buffer.getvalue())
    assert read_all(root, tmp_path) == (["b", "a", "c"], {"not_text": 2})
    assert read_all(root, tmp_path, Input(format="tar")) == (["b", "a", "{}", "fork", "c"], {})


@pytest.mark.parametrize("junk", ["second archive", "damaged header"])
def test_tar_with_something_behind_it(junk: str, tmp_path: Path) -> None:
    """What tarfile would take for the end of the archive, and lose documents, fails the unit."""
    data = tar_of([("a.txt", b"a"), ("b.txt", b"b" * 600), ("c.txt", b"c")])
    if junk == "second archive":
        data += tar_of([("d.txt", b"d")])
    else:
        data = data[:1024] + b"\1" + data[1025:]
    with pytest.raises(SourceReadError, match=r"a\.tar.*: not a whole tar archive"):
        read_all(folder(tmp_path, a__tar=data), tmp_path)


def test_tar_with_a_header_of_many_megabytes(tmp_path: Path) -> None:
    """An archive cannot make a rank hold an extended header of any size."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * (17 << 20)}):
        pass
    with pytest.raises(SourceReadError, match=r"a\.tar: not a whole tar archive: a header of over"):
        read_all(folder(tmp_path, a__tar=buffer.getvalue()), tmp_path)


def test_large_members_that_are_skipped(tmp_path: Path) -> None:
    """A member of any size that is no text is passed over."""
    data = tar_of([("a.txt", b"a"), ("b.bin", bytes(40 << 20)), ("c.txt", b"c")])
    assert read_all(folder(tmp_path, a__tar=data), tmp_path) == (["a", "c"], {"not_text": 1})


def test_window_that_memory_is_not_for(tmp_path: Path) -> None:
    """A zstd frame that wants a window of a gigabyte is refused, with what to do."""
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = frame.compress(b'{"text": "a"}\n') + frame.flush()
    with pytest.raises(SourceReadError, match=r"a\.jsonl\.zst: .*compress it again without --long"):
        read_all(folder(tmp_path, a__jsonl__zst=data), tmp_path)


class Endless:
    """A file of one line without an end, which takes no memory."""

    def read(self, size: int, /) -> bytes:
        return _MANY[:size]

    def seek(self, position: int, /) -> None:
        raise AssertionError("nobody seeks in it")


_MANY = b"x" * (64 << 20)


def test_line_or_document_without_an_end() -> None:
    """A line, or a document, of over a gigabyte is refused before all of the memory is gone."""
    with pytest.raises(SourceError, match="f: the line that begins at byte 0 is longer than 1073741824 bytes"):
        next(blocks(Endless(), where="f", block_bytes=len(_MANY)))
    with pytest.raises(SourceError, match="f: a document of over 1073741824 bytes; --document-per-line makes many"):
        whole_document(lambda size: _MANY, "f")


# Arrow


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
@pytest.mark.parametrize("as_file", [True, False])
def test_arrow_strings_of_any_type(kind: pa.DataType, as_file: bool, tmp_path: Path) -> None:
    """Any Arrow type of strings is read, null and empty rows are dropped and counted."""
    table = pa.table({"n": [1, 2, 3, 4], "text": pa.array(["ä", None, "", "b"], pa.string()).cast(kind)})
    sink = io.BytesIO()
    with (pa.ipc.new_file if as_file else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    assert read_all(folder(tmp_path, a__arrow=sink.getvalue()), tmp_path) == (["ä", "b"], {"null": 1, "empty": 1})


def test_arrow_offsets_that_lead_out_of_the_data(tmp_path: Path) -> None:
    """A file whose offsets lie fails the unit; it does not read other memory."""
    data = bytearray(arrow_stream(["aaaa", "bbbb", "cccc"]))
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 4, 8, 12))
    assert data.count(offsets) == 1
    at = data.index(offsets)
    data[at + 4 : at + 8] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(SourceReadError, match=r"a\.arrow: after row 0"):
        read_all(folder(tmp_path, a__arrow=bytes(data)), tmp_path)


def test_arrow_stream_without_its_end(documents: list[str], tmp_path: Path) -> None:
    """A stream that ends between two batches, as after a crash of its writer, is cut short, not complete."""
    with pytest.raises(SourceReadError, match=r"a\.arrow: no Arrow file, and no Arrow stream with its end"):
        read_all(folder(tmp_path, a__arrow=arrow_stream(documents[:100])[:-8]), tmp_path)


def test_folder_that_datasets_saved(documents: list[str], tmp_path: Path) -> None:
    """Of what `save_to_disk` and `map` leave in a folder, the data is read, and neither metadata nor caches."""
    root = folder(tmp_path)
    for number in range(2):
        (root / f"data-0000{number}-of-00002.arrow").write_bytes(
            arrow_stream(documents[number * 50 : number * 50 + 50])
        )
    (root / "cache-0123456789abcdef.arrow").write_bytes(arrow_stream(documents[100:150]))
    (root / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00002.arrow"}]}))
    (root / "dataset_info.json").write_text("{}")
    job = planned_job(root, tmp_path / "out")
    assert [document for unit in job.units for document in read(job, unit)[0]] == documents[:100]


# Over a network


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_through_fsspec(
    name: str, documents: list[str], memory: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    """Behind a URL the same documents are read in spans, without a copy on disk."""
    write, form = FORMATS[name]
    (tmp_path / "in").mkdir()
    write(tmp_path / "in", documents[:60])
    memory.put(str(tmp_path / "in"), f"/{name.replace(' ', '')}", recursive=True)
    job = planned_job(f"memory://{name.replace(' ', '')}", tmp_path / "out", form)
    assert read(job)[0] == documents[:60]


def test_parts_through_fsspec(documents: list[str], memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    """Parts of a file of lines are read from its middle, each a little beyond its end."""
    memory.pipe("/parts/a.jsonl", json_lines(documents))
    job = planned_job("memory://parts", tmp_path / "out", unit_bytes=100_000)
    assert len(job.units) > 3
    assert [document for unit in job.units for document in read(job, unit)[0]] == documents


# Several datasets


def test_several_datasets_in_one_run(documents: list[str], memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    """Datasets of several kinds and places are one run; each unit's record names the dataset its rows come from."""
    (tmp_path / "web").mkdir()
    FORMATS["jsonl"][0](tmp_path / "web", documents[:50])
    FORMATS["files"][0](tmp_path, documents[50:80])
    memory.pipe("/far/a.jsonl", json_lines(documents[80:100]))
    named_as = (("web", f"{tmp_path}/web"), ("files", f"{tmp_path}/d"), ("far", "memory://far"))
    catalog = list_dataset(DatasetSpec(name="several", named=named_as))
    units = units_of(catalog.files, 1 << 30, catalog.dataset.input, named=True)
    job = make_job(catalog.dataset, tmp_path / "out", units=units, holdout=Holdout(rate=0))
    records = write_all(job)
    paths = [records[unit.ordinal]["train"].source.path for unit in units]
    assert paths == ["web/a.jsonl", "files/000000.txt", "far/a.jsonl"]
    assert [records[unit.ordinal]["train"].documents for unit in units] == [50, 30, 20]
    assert [document for unit in units for document in read(job, unit)[0]] == documents[:100]
    report = verify([tmp_path / "out" / split for split in ("train", "holdout")])
    assert (report.coverage.complete, report.findings) == (True, [])
    assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job


# Memory

_MEMORY = """
import sys
from pathlib import Path
from shard.records.inputs import Input
from shard.records.job import Dataset
from shard.records.unit import Unit
from shard.records.options import Options
from shard.source.download import Scratch
from shard.source.files import content_id, filesystem
from shard.source.opened import open_unit
root, name, per_line = sys.argv[1], sys.argv[2], sys.argv[3] == "1"
fs, base = filesystem(root)
info = fs.info(f"{base}/{name}")
unit = Unit(ordinal=0, path=name, size=info["size"], content_id=content_id(fs, f"{base}/{name}", info))
form = Input(document_per_line=per_line)
dataset = Dataset(kind="files", name="d", root=root, revision="0", text_column="text", input=form)
with open_unit(dataset, unit, Options(), Scratch(Path("/nowhere")), {}) as opened:
    print(sum(len(batch.data) for batch in opened.texts))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst", "a.txt", "a.tar"])
def test_memory_does_not_grow_with_the_file(name: str, documents: list[str], tmp_path: Path) -> None:
    """Four times the text takes as much memory, give or take 30 MB."""
    peaks = []
    for times in (20, 80):
        many = documents * times
        data = {
            "a.jsonl": lambda many=many: json_lines(many),
            "a.jsonl.zst": lambda many=many: zstandard.compress(json_lines(many), 1),
            "a.txt": lambda many=many: text_lines(many),
            "a.tar": lambda many=many: tar_of(named(many)),
        }[name]()
        (tmp_path / name).write_bytes(data)
        arguments = [str(tmp_path), name, str(int(name == "a.txt"))]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        run = subprocess.run([sys.executable, "-c", _MEMORY, *arguments], check=True, capture_output=True, text=True,
                             env=environment)  # fmt: skip
        size, peak = map(int, run.stdout.split())
        assert size == sum(len(document.encode()) for document in many)
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 30
