"""Files that are odd in their format's own ways: every row is a document or counted, or the error says what to do."""

import base64
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from provision.errors import CatalogError
from shard.errors import SourceReadError
from shard.source.download import Scratch
from shard.source.opened import open_unit
from tests.support.batches import documents_of
from tests.support.inputs import arrow_stream, planned_job
from tests.support.jobs import QUICK


def read(path: Path) -> tuple[list[str], dict[str, int]]:
    """Documents of the only unit of a file's directory, after the look that a plan takes; rows dropped by reason."""
    job = planned_job(path.parent, path.parent / "out")
    (unit,) = job.units
    found: list[str] = []
    dropped: dict[str, int] = {}
    rows = 0
    with open_unit(job.dataset, unit, QUICK, Scratch(Path("/nowhere")), {}) as opened:
        for batch in opened.texts:
            rows += batch.rows
            found += [bytes(document).decode() for document in documents_of(batch)]
            for reason, count in batch.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + count
    assert rows == len(found) + sum(dropped.values())
    return found, {reason: count for reason, count in dropped.items() if count}


def read_bytes(path: Path, data: bytes) -> tuple[list[str], dict[str, int]]:
    path.write_bytes(data)
    return read(path)


# JSON lines

GOOD = b'{"text": "good"}\n'


@pytest.mark.parametrize(
    ("first", "documents", "dropped"),
    [
        (b'{"text": "caf\xe9"}', [], {"invalid_utf8": 1}),
        (b'{"\xe9": 1, "text": "a"}', ["a"], {}),
        (b'{"n": ' + b"9" * 5000 + b', "text": "a"}', ["a"], {}),
        (b'{"n": ' + b"[" * 9000 + b"]" * 9000 + b', "text": "a"}', ["a"], {}),
        (b'{"text": null}', [], {"null": 1}),
        (b"null", [], {"null": 1}),
    ],
    ids=["text not UTF-8", "name not UTF-8", "number", "deep", "null", "null line"],
)
def test_odd_first_line(first: bytes, documents: list[str], dropped: dict[str, int], tmp_path: Path) -> None:
    """What is taken anywhere in a file is taken in its first line, too, by the look of the plan and by the worker."""
    assert read_bytes(tmp_path / "a.jsonl", first + b"\n" + GOOD) == ([*documents, "good"], dropped)


@pytest.mark.parametrize("before", [0, 1, 200])
@pytest.mark.parametrize("behind", [b"", b'{"text": 3}\n'], ids=["alone", "beside another odd line"])
def test_lines_of_null(before: int, behind: bytes, tmp_path: Path) -> None:
    """A line that says `null` is a null row wherever it stands: where Arrow meets it first, the process ends."""
    found = read_bytes(tmp_path / "a.jsonl", GOOD * before + b"null\n" + behind + b"null\n" + GOOD)
    assert found == (["good"] * (before + 1), {"null": 2, **({"not_text": 1} if behind else {})})


def test_file_without_text_but_with_the_column(tmp_path: Path) -> None:
    """A column that is null throughout is that column: its rows are dropped and counted."""
    assert read_bytes(tmp_path / "a.jsonl", b'{"text": null}\n' * 3) == ([], {"null": 3})


@pytest.mark.parametrize("encoding", ["UTF-16", "UTF-32"])
def test_wide_encodings_are_named(encoding: str, tmp_path: Path) -> None:
    """The remedy for a file of another encoding names that encoding."""
    with pytest.raises(CatalogError, match=rf"a\.jsonl: {encoding}; convert it: iconv -f {encoding} -t UTF-8"):
        read_bytes(tmp_path / "a.jsonl", GOOD.decode().encode(encoding))


# Archives


def typed(kind: bytes) -> bytes:
    """An archive of two files, the first of which is said to be of another type."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("odd.txt", "good.txt"):
            member = tarfile.TarInfo(name)
            member.size, member.type = 3, kind if name == "odd.txt" else tarfile.REGTYPE
            archive.addfile(member, io.BytesIO(name[:3].encode()))
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "documents"), [(b"Z", ["odd", "goo"]), (b"7", ["odd", "goo"]), (b"D", ["goo"])])
def test_members_of_other_types(kind: bytes, documents: list[str], tmp_path: Path) -> None:
    """A member of a type that nobody knows is a file, as POSIX has it; what GNU tar notes of a directory is none."""
    assert read_bytes(tmp_path / "a.tar", typed(kind)) == (documents, {})


def test_hard_link_that_has_data(tmp_path: Path) -> None:
    """A link with a content, of which nothing would be read, fails the unit."""
    with pytest.raises(SourceReadError, match=r"a\.tar, after odd\.txt: not a whole tar archive"):
        read_bytes(tmp_path / "a.tar", typed(tarfile.LNKTYPE))


@pytest.mark.parametrize("name", ["/etc/x.txt", "../../x.txt", "a/./b.txt", "\udcff.txt"])
def test_names_of_members_lead_nowhere(name: str, tmp_path: Path) -> None:
    """A member is read, whatever it is called; nothing is made of its name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", errors="surrogateescape", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    (tmp_path / "in").mkdir()
    assert read_bytes(tmp_path / "in" / "a.tar", buffer.getvalue()) == (["x"], {})
    assert [path.name for path in tmp_path.rglob("*.txt")] == []


# Arrow


def ill_formed(kind: Any) -> Any:
    """Three texts of a type of strings, the first of which is not UTF-8."""
    raw = pa.array([b"\xff", b"a text of more than twelve bytes", b""], _AS_BYTES[kind])
    return pa.Array.from_buffers(kind, len(raw), raw.buffers())


_AS_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}


@pytest.mark.parametrize("as_file", [False, True], ids=["stream", "file"])
@pytest.mark.parametrize("inside", ["plain", "dictionary", "list", "fixed list", "list view"])
@pytest.mark.parametrize("kind", list(_AS_BYTES), ids=str)
def test_arrow_text_that_is_not_utf8(kind: Any, inside: str, as_file: bool, tmp_path: Path) -> None:
    """Ill-formed text is dropped and counted in every type that holds strings; rows beside it stay."""
    texts = ill_formed(kind)
    offsets = pa.array([0, 1, 2, 3], pa.int32())
    column = {
        "plain": lambda: texts,
        "dictionary": lambda: pa.DictionaryArray.from_arrays(offsets[:3], texts, safe=False),
        "list": lambda: pa.ListArray.from_arrays(offsets, texts),
        "fixed list": lambda: pa.FixedSizeListArray.from_arrays(texts, 1),
        "list view": lambda: pa.ListViewArray.from_arrays(offsets[:3], pa.array([1, 1, 1], pa.int32()), texts),
    }[inside]()
    table = pa.table({"text": column})
    sink = io.BytesIO()
    with (pa.ipc.new_file if as_file else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table)
    found = read_bytes(tmp_path / "a.arrow", sink.getvalue())
    assert found == (["a text of more than twelve bytes"], {"invalid_utf8": 1, "empty": 1})


def test_arrow_index_out_of_the_dictionary(tmp_path: Path) -> None:
    """An index that leads out of the dictionary fails the unit; it does not read other memory."""
    column = pa.DictionaryArray.from_arrays(pa.array([0, 9], pa.int8()), pa.array(["x", "y"]), safe=False)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, pa.schema([("text", column.type)])) as writer:
        writer.write_table(pa.table({"text": column}))
    with pytest.raises(SourceReadError, match=r"a\.arrow: after row 0: .*out of bounds"):
        read_bytes(tmp_path / "a.arrow", sink.getvalue())


def test_arrow_streams_joined(tmp_path: Path) -> None:
    """A stream behind the first, as `cat` joins them, is not passed over: the unit fails, and says after which row."""
    with pytest.raises(SourceReadError, match=r"a\.arrow: after row 2: another Arrow stream behind the first"):
        read_bytes(tmp_path / "a.arrow", arrow_stream(["a", "b"]) + arrow_stream(["c"]))


def test_columns_of_one_name(tmp_path: Path) -> None:
    """Two columns of the name are not said to be none."""
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(CatalogError, match=r"a\.parquet: has several columns 'text'"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize("kind", [pa.null(), pa.list_(pa.null())], ids=str)
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_column_without_a_type(kind: Any, suffix: str, tmp_path: Path) -> None:
    """A file in which no row has a text is written with a column of nulls: its rows are dropped and counted."""
    table = pa.table({"text": pa.array([None, None], kind)})
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    assert read(path) == ([], {"null": 2})


# Parquet


class PlainKeys(pe.KmsClient):
    """A key service that keeps keys as they are."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        return base64.b64decode(wrapped_key)


@pytest.mark.parametrize("scheme", ["", "memory://"])
@pytest.mark.parametrize(
    ("plaintext_footer", "column", "message"),
    [
        (False, "text", "encrypted Parquet; write it again without"),
        (True, "text", "columns of it are encrypted"),
        (True, "id", "columns of it are encrypted"),
    ],
)
def test_encrypted_parquet(plaintext_footer: bool, column: str, message: str, scheme: str, tmp_path: Path) -> None:
    """Encrypted files are refused in words: to be asked about an encrypted column, Arrow ends the process."""
    configuration = pe.EncryptionConfiguration(
        footer_key="f", column_keys={"c": [column]}, plaintext_footer=plaintext_footer, data_key_length_bits=128
    )
    properties = pe.CryptoFactory(lambda _: PlainKeys()).file_encryption_properties(
        pe.KmsConnectionConfig(), configuration
    )
    table = pa.table({"text": ["a", "b"], "id": [1, 2]})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    fs, root = fsspec.core.url_to_fs(f"{scheme}{tmp_path}")
    fs.pipe_file(f"{root}/a.parquet", sink.getvalue())
    with pytest.raises(CatalogError, match=rf"a\.parquet: {message}"):
        planned_job(f"{scheme}{tmp_path}", tmp_path / "out")


@pytest.mark.parametrize("sizes", [[], [0], [0, 2, 0], [2, 0, 0, 1]], ids=str)
@pytest.mark.parametrize("page_index", [False, True])
def test_row_groups_without_rows(sizes: list[int], page_index: bool, tmp_path: Path) -> None:
    """Row groups of no rows, and none at all, are no error; with a page index and without."""
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(tmp_path / "a.parquet", schema, write_page_index=page_index) as writer:
        for size in sizes:
            writer.write_table(pa.table({"text": pa.array(["x"] * size, pa.string())}))
    assert read(tmp_path / "a.parquet") == (["x"] * sum(sizes), {})


_LOOK = """
import sys
from pathlib import Path
from shard.errors import SourceError
from shard.records.job import Dataset
from shard.records.unit import Unit
from shard.source.look import holds_text
path = Path(sys.argv[1])
whole = path.read_bytes()
dataset = Dataset(kind="files", name="d", root="/", revision="0", text_column="text")
unit = Unit(ordinal=0, path=path.name, size=len(whole), content_id="tail:x")
for at in range(int(sys.argv[2]), len(whole) - 8):
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    try:
        holds_text(path, unit, dataset, where="f")
    except SourceError:
        continue
"""


def test_look_at_damaged_footers(tmp_path: Path) -> None:
    """Whichever byte of a footer is damaged, a plan can look into it; Arrow may end the process that asks for more."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["one", "two", None] * 10}), path, row_group_size=10)
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    subprocess.run([sys.executable, "-c", _LOOK, str(path), str(footer)], check=True, env=environment)
