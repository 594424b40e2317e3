"""Documents of several sequences: rows whose text is a list of strings, from every format that has lists."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import tiktoken
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from provision.catalog.files import files_catalog
from provision.catalog.types import DatasetSpec
from shard.batch import TextBatch, TokenBatch
from shard.errors import SourceError, SourceReadError, TokenMismatchError
from shard.records.job import Holdout, Job
from shard.sampling import sample_ranks
from shard.source.jsonl import JsonLines
from shard.source.lines import blocks
from shard.source.strings import text_batch
from shard.split import held_out
from shard.tokenizer.checks import SampleCheck
from shard.tokenizer.load import load_tokenizer
from shard.tokenizer.raw_bytes import ByteEngine
from shard.verify.stores import verify
from tests.support.batches import documents_of, ids_of
from tests.support.inputs import json_lines, planned_job
from tests.support.jobs import rank_spec
from tests.support.oracle import written
from tests.support.text import real_documents
from tests.support.worker import write_all

EOD = 50256
Row = list[str | None] | str | None
BYTES = st.one_of(st.text(max_size=4), st.binary(max_size=3))


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Real text cut where tokens would reach over the border, among rows that are none."""
    documents = [document[:400] for document in real_documents(120)]
    cut: list[Row] = [[document[:7], "", document[7:50], None, document[50:]] for document in documents]
    return [*cut[:60], None, [], ["", None], ["one alone"], *cut[60:], [None, "behind nothing"]]


def table(rows: Sequence[Row], kind: Any) -> pa.Table:
    # A neighbour whose name begins alike is another column.
    return pa.table({"text.x": [str(number) for number in range(len(rows))], "text": pa.array(rows, kind)})


def parquet(path: Path, rows: Sequence[Row], kind: Any) -> None:
    pq.write_table(table(rows, kind), path / "a.parquet", row_group_size=20)


def stream(path: Path, rows: Sequence[Row], kind: Any) -> None:
    with pa.ipc.new_stream(path / "a.arrow", table(rows, kind).schema) as writer:
        writer.write_table(table(rows, kind), max_chunksize=30)


def feather(path: Path, rows: Sequence[Row], kind: Any) -> None:
    pyarrow.feather.write_feather(table(rows, kind), str(path / "a.feather"), chunksize=50)


def lines(path: Path, rows: Sequence[Row], _: Any) -> None:
    (path / "a.jsonl").write_bytes(json_lines(rows))


LIST, LARGE = pa.list_(pa.string()), pa.large_list(pa.large_string())
FORMS: dict[str, tuple[Callable[[Path, Sequence[Row], Any], None], Any]] = {
    "jsonl": (lines, None),
    "parquet": (parquet, LIST),
    "large parquet": (parquet, LARGE),
    "stream": (stream, LIST),
    "large stream": (stream, LARGE),
    "feather": (feather, LIST),
}


def job_of(root: Path, form: str, rows: Sequence[Row], *, unit_bytes: int = 1 << 30, **frame: int | None) -> Job:
    """Over rows written in this form, by r50k, a fifth held out."""
    (root / "in").mkdir(parents=True)
    write, kind = FORMS[form]
    write(root / "in", rows, kind)
    spec = replace(rank_spec(), **frame)
    return planned_job(root / "in", root / "out", unit_bytes=unit_bytes, tokenizer=spec, holdout=Holdout(rate=0.2))


def sequences_of(row: Row) -> list[str]:
    """What there is to tokenize in a row."""
    return [text for text in (row if isinstance(row, list) else [row]) if text]


def expected(rows: Sequence[Row], before: Sequence[int] = (), after: Sequence[int] = (EOD,)) -> dict[str, Any]:
    """Split → documents as Megatron's and nanotron's preprocess_data put them together, by tiktoken."""
    encode = tiktoken.get_encoding("r50k_base").encode_ordinary
    found: dict[str, list[list[int]]] = {"train": [], "holdout": []}
    for row in rows:
        if texts := sequences_of(row):
            held = xxhash.xxh3_64_intdigest("".join(texts).encode()) < 0.2 * 2**64
            ids = [token for text in texts for token in encode(text)]
            found["holdout" if held else "train"].append([*before, *ids, *after])
    return found


def found_in(job: Job) -> dict[str, Any]:
    return {split: written([Path(job.output_dir).parent / split]) for split in ("train", "holdout")}


@pytest.mark.parametrize("form", FORMS)
def test_sequences_are_tokenized_each_by_itself(
    form: str, rows: list[Row], rank_directory: Path, tmp_path: Path
) -> None:
    """From every format: no token reaches over a border, the end of a document stands once, behind the last, and rows
    without text are counted; verification proves that nothing is missing."""
    job = job_of(tmp_path, form, rows)
    records = write_all(job, rank_directory)
    assert found_in(job) == expected(rows)
    assert records[0]["train"].dropped == {"null": 1, "empty": 2, "invalid_utf8": 0}
    report = verify([tmp_path / "out" / split for split in ("train", "holdout")])
    assert (report.coverage.complete, report.coverage.rows, report.findings) == (True, len(rows), [])
    whole = tiktoken.get_encoding("r50k_base").encode_ordinary("".join(sequences_of(rows[0])))
    assert [*whole, EOD] not in found_in(job)["train"] + found_in(job)["holdout"], "joined text gives other tokens"


@pytest.mark.parametrize(("bos_id", "eod_id"), [(None, None), (11, None), (11, EOD)])
def test_what_frames_a_document_of_sequences(
    bos_id: int | None, eod_id: int | None, rows: list[Row], rank_directory: Path, tmp_path: Path
) -> None:
    """The first token stands before the first sequence alone, the last behind the last; either may be left out."""
    job = job_of(tmp_path, "jsonl", rows, bos_id=bos_id, eod_id=eod_id)
    write_all(job, rank_directory)
    frame = [[] if token is None else [token] for token in (bos_id, eod_id)]
    assert found_in(job) == expected(rows, *frame)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_parts_of_a_file_with_lists(form: str, rows: list[Row], rank_directory: Path, tmp_path: Path) -> None:
    """Files are cut by lines and row groups as ever, and the parts together are the whole."""
    job = job_of(tmp_path, form, rows, unit_bytes=10_000)
    assert len(job.units) > 3
    write_all(job, rank_directory)
    assert found_in(job) == expected(rows)


# Batches


def array_of(values: Sequence[Sequence[bytes | None] | None], kind: Any) -> Any:
    """Lists of strings that may hold what is no UTF-8."""
    large = pa.types.is_large_list(kind)
    raw = pa.array(values, pa.large_list(pa.large_binary()) if large else pa.list_(pa.binary()))
    return raw.view(kind)


@given(
    st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), BYTES), max_size=4)), max_size=12),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from([LIST, LARGE]),
)
def test_lists_against_a_plain_loop(
    rows: list[list[str | bytes | None] | None], before: int, after: int, kind: Any
) -> None:
    """Null and empty elements are no sequences; null lists, lists without text, and lists with an ill-formed element
    are dropped, each by its reason; and where in its buffers the array stands does not matter."""
    values = [None if row is None else [t.encode() if isinstance(t, str) else t for t in row] for row in rows]
    documents, dropped = [], {"null": 0, "empty": 0, "invalid_utf8": 0}
    for value in values:
        sequences = [text for text in value or [] if text]
        if value is None:
            dropped["null"] += 1
        elif not sequences:
            dropped["empty"] += 1
        elif all(_is_utf8(text) for text in sequences):
            documents.append(sequences)
        else:
            dropped["invalid_utf8"] += 1
    outer: list[list[bytes | None] | None] = [[b"x", b"y"]]
    array = array_of([*outer * before, *values, *outer * after], kind)[before : before + len(values)]
    batch = text_batch(array)
    assert [[bytes(piece) for piece in batch.pieces_of(i)] for i in range(batch.documents)] == documents
    assert documents_of(batch) == [b"".join(sequences) for sequences in documents]
    assert (batch.dropped, batch.rows) == (dropped, len(values))
    assert (int(batch.pieces[0]), int(batch.pieces[-1])) == (0, len(batch.data))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(
    "kind",
    [
        *(LIST, LARGE, pa.list_view(pa.string()), pa.large_list_view(pa.large_string()), pa.list_(pa.string_view())),
        pa.list_(pa.string(), 2),
    ],
    ids=str,
)
def test_every_kind_of_list(kind: Any) -> None:
    """However lists and their strings are stored, they are the same documents."""
    batch = text_batch(pa.array([["a", "b"], None, ["", "cd"], [None, None]], kind))
    assert [[bytes(piece) for piece in batch.pieces_of(i)] for i in range(batch.documents)] == [[b"a", b"b"], [b"cd"]]
    assert batch.dropped == {"null": 1, "empty": 1, "invalid_utf8": 0}


def test_strings_stay_plain() -> None:
    """A column of strings has no sequences: nothing is kept or done for them."""
    assert text_batch(pa.array(["a", "b"])).sequences is None
    (batch,) = JsonLines("text", where="f").texts(blocks(io.BytesIO(json_lines(["a", 3, "b"])), where="f"))
    assert (documents_of(batch), batch.sequences) == ([b"a", b"b"], None)


# Lines of all kinds

DEEP = b'{"x": ' + b"[" * 2000 + b"]" * 2000 + b', "text": "deep"}'
LINES: list[tuple[bytes, Any]] = [
    (b'{"text": "one"}', ["one"]),
    (b'{"text": "\xc3\xa4 \\ud83d\\ude00", "x": NaN}', ["ä 😀"]),
    (b'{"text": ["two", "", "three", null]}', ["two", "three"]),
    (b'{"text": "no", "text": ["last", "counts"]}', ["last", "counts"]),
    (DEEP, ["deep"]),
    (b"  ", None),
    (b'{"id": 1}', "null"),
    (b'{"text": []}', "empty"),
    (b'{"text": ["", null]}', "empty"),
    (b'{"text": ""}', "empty"),
    (b'{"text": ["a", 3]}', "not_text"),
    (b'{"text": [["a"]]}', "not_text"),
    (b'{"text": {"a": "b"}}', "not_text"),
    (b'{"text": ["a", "\\ud800"]}', "invalid_utf8"),
    (b'{"text": ["\xe4\xb8", "\xad"]}', "invalid_utf8"),
]
"""Lines, and their sequences, or why there are none; None for what is no row."""


@settings(deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=200), st.sampled_from([50, 3000, 1 << 20]))
def test_a_line_means_the_same_wherever_it_stands(chosen: list[tuple[bytes, Any]], block_bytes: int) -> None:
    """Strings, lists and odd rows in any order, in blocks of any size: each line gives what it alone gives."""
    data = b"".join(line + b"\n" for line, _ in chosen)
    found, dropped = [], dict.fromkeys(("null", "empty", "not_text", "invalid_utf8"), 0)
    for batch in JsonLines("text", where="f").texts(blocks(io.BytesIO(data), where="f", block_bytes=block_bytes)):
        found += [[str(piece, "utf-8") for piece in batch.pieces_of(i)] for i in range(batch.documents)]
        for reason, count in batch.dropped.items():
            dropped[reason] += count
        assert batch.rows == batch.documents + sum(batch.dropped.values())
    assert found == [what for _, what in chosen if isinstance(what, list)]
    assert dropped == {reason: sum(what == reason for _, what in chosen) for reason in dropped}


def test_strings_before_lists() -> None:
    """Where strings end and lists begin, nulls among either are null, and everything stays in order."""
    rows = ["first", None, *(str(number) for number in range(99)), *([str(number), "x"] for number in range(100)), None]
    (batch,) = JsonLines("text", where="f").texts(blocks(io.BytesIO(json_lines(rows)), where="f"))
    assert documents_of(batch) == ["".join(sequences_of(row)).encode() for row in rows if row]
    assert (batch.rows, batch.dropped) == (202, {"null": 2, "empty": 0, "invalid_utf8": 0})


def test_a_broken_line_among_lists() -> None:
    """A line that is no JSON is named by its number and byte among lines of all kinds, too."""
    good = [b'{"text": "a"}', b'{"text": ["a", "b"]}'] * 100
    data = b"\n".join([*good[:170], b"oops", *good])
    with pytest.raises(SourceError, match=rf"f: line 171 \(byte {data.index(b'oops')}\): not JSON"):
        list(JsonLines("text", where="f").texts(blocks(io.BytesIO(data), where="f")))


# What is asked of sequences elsewhere


def test_holdout_by_the_text_however_it_is_cut(rows: list[Row]) -> None:
    """A document is held out by the text of all its sequences in a row, so copies that are cut otherwise, or not at
    all, are on its side."""
    texts = ["".join(sequences_of(row)) for row in rows if sequences_of(row)]
    cuts = [[[text] for text in texts], [[text[:3], text[3:]] for text in texts], [list(text) for text in texts]]
    holdout = Holdout(rate=0.5)
    sides = [held_out(text_batch(pa.array(cut)), holdout).tolist() for cut in cuts]
    assert sides[0] == sides[1] == sides[2] == held_out(text_batch(pa.array(texts)), holdout).tolist()
    assert 0 < sum(sides[0]) < len(texts)


class Joining:
    """An engine that knows nothing of sequences."""

    name = "joining"

    def __init__(self, directory: Path) -> None:
        self._engine = load_tokenizer(rank_spec(), directory).engine

    def encode(self, batch: TextBatch) -> TokenBatch:
        return self._engine.encode(TextBatch(batch.data, batch.offsets, batch.rows, batch.dropped))


def test_the_sample_is_of_sequences(rank_directory: Path) -> None:
    """Tokens over a border are found before a unit is committed."""
    batch = text_batch(pa.array([["hel", "lo"], ["x"]]))
    tokenizer = load_tokenizer(rank_spec(), rank_directory)
    SampleCheck(tokenizer.reference).check(batch, tokenizer.engine.encode(batch), first_document=0)
    with pytest.raises(TokenMismatchError, match=r"document 5 .*hello"):
        SampleCheck(tokenizer.reference).check(batch, Joining(rank_directory).encode(batch), first_document=5)


def test_bytes_of_sequences() -> None:
    """Bytes have no borders: the ids of a document are those of its text."""
    assert ids_of(ByteEngine().encode(text_batch(pa.array([["a", "bc"], ["d"]])))) == [[97, 98, 99], [100]]


def test_rank_table_of_lists(rank_directory: Path, tmp_path: Path) -> None:
    """The table of a compressed store is made from the tokens that the run will write."""
    lines(tmp_path, [["hel", "lo"]] * 3 + [["lo"]], None)
    dataset = files_catalog(DatasetSpec(name=str(tmp_path))).dataset
    (file,) = files_catalog(DatasetSpec(name=str(tmp_path))).files
    ranks = sample_ranks(dataset, [(file.path, file.size, file.content_id)], rank_spec(), rank_directory, {})
    encode = tiktoken.get_encoding("r50k_base").encode_ordinary
    assert np.frombuffer(ranks, "<u4").tolist() == sorted([*encode("lo"), EOD]) + encode("hel")


# Columns


def test_other_lists_are_refused(tmp_path: Path) -> None:
    """Lists of something else, and lists of lists, are refused with their type when a run is planned."""
    for name, column in (
        ("numbers", pa.array([[1]])),
        ("lists", pa.array([[["a"]]])),
        ("dictionaries", pa.array([["a"]], pa.list_(pa.dictionary(pa.int32(), pa.string())))),
    ):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"text": column}), tmp_path / name / "a.parquet")
        with pytest.raises(Exception, match=r"column 'text' holds list<.*neither strings nor lists of them"):
            files_catalog(DatasetSpec(name=str(tmp_path / name)))


@pytest.mark.parametrize("kind", [LIST, LARGE], ids=str)
def test_ill_formed_lists_of_every_file(kind: Any, tmp_path: Path) -> None:
    """An ill-formed element drops its row, and is no damage of the file: in Parquet as in Arrow."""
    column = array_of([[b"a", b"b"], [b"a", b"\xff"], [b"c"]], kind)
    for name, write in (("p", pq.write_table), ("f", pyarrow.feather.write_feather)):
        (tmp_path / name / "in").mkdir(parents=True)
        write(pa.table({"text": column}), str(tmp_path / name / "in" / ("a.parquet" if name == "p" else "a.feather")))
        job = planned_job(tmp_path / name / "in", tmp_path / name / "out", holdout=Holdout(rate=0.0))
        record = write_all(job)[0]["train"]
        assert (record.documents, record.dropped["invalid_utf8"], record.tokens) == (2, 1, 5)


def test_damaged_lists_of_a_stream(tmp_path: Path) -> None:
    """Offsets of an Arrow file that lead out of its data are an error, never memory of somebody else."""
    (tmp_path / "in").mkdir()
    stream(tmp_path / "in", [["aaaa", "bbbb"], ["cccc"]], LIST)
    path = tmp_path / "in" / "a.arrow"
    data = bytearray(path.read_bytes())
    # Offsets of the strings, int32: 0, 4, 8, 12.
    at = bytes(data).index(np.array([0, 4, 8, 12], "<i4").tobytes())
    data[at + 8 : at + 12] = np.array([1 << 30], "<i4").tobytes()
    path.write_bytes(data)
    with pytest.raises(SourceReadError, match=r"a\.arrow: after row 0"):
        write_all(planned_job(tmp_path / "in", tmp_path / "out"))
