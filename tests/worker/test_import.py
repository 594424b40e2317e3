"""shard/imports: what an export wrote, or another tool, becomes shards again; what is wrong with it is named."""

import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from shard.errors import JobError, ShardError, SourceError, StoreError
from shard.export.options import ExportOptions
from shard.export.run import export
from shard.formats.megatron import index_bytes, read_index
from shard.imports.blocks import by_end
from shard.imports.options import ImportOptions
from shard.imports.run import IMPORTS, import_tokens
from shard.imports.sources import split_of
from shard.records.job import Holdout, Job
from shard.storage.stored import open_stored
from shard.verify.stores import verify
from tests.support.jobs import BYTES_SPEC, make_job, write_corpus
from tests.support.plans import tree_of
from tests.support.worker import write_all

EOD = 256
BYTES = ImportOptions(BYTES_SPEC)
DOCUMENTS = [[104, 105, EOD], [EOD], [0, 255, 1, 2, EOD], [7] * 5000 + [EOD]]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Job:
    """Six units, of which one has no document, three in ten documents held out."""
    root = tmp_path_factory.mktemp("store")
    corpus = write_corpus(root / "corpus", [None, *documents[:59]], files=6)
    made = make_job(corpus, root, holdout=Holdout(rate=0.3), tokenizer=BYTES_SPEC)
    write_all(made, root)
    return made


def exported(job: Job, format_name: str, out: Path, *directories: str) -> Path:
    """An export, in several files where the format can."""
    size = None if format_name in ("megatron", "nanogpt", "datatrove") else 40_000
    given = [Path(directory) for directory in directories or (job.output_dir, job.holdout_dir)]
    ranks = 2 if format_name == "catid" else None  # its loader wants more documents for more
    export(given, format_name, out, ExportOptions(shard_tokens=size, local_ranks=ranks))
    return out


def taken(path: Path, format_name: str, root: Path, options: ImportOptions = BYTES) -> tuple[Path, Path]:
    import_tokens(path, format_name, root / "in", root / "in_holdout", options)
    return root / "in", root / "in_holdout"


def written(directory: Path) -> list[list[int]]:
    """Every document of a directory of shards, end-of-document id included."""
    return [
        block.tokens[start:end].tolist()
        for block in open_stored(directory).blocks()
        for start, end in pairwise(block.offsets.tolist())
    ]


def payload(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.glob("[0-9]*.bin")))


# Round trips


@pytest.mark.parametrize("name", IMPORTS)
def test_an_export_comes_back(name: str, job: Job, tmp_path: Path) -> None:
    """What was exported is imported document by document, train and holdout apart, and verifies as complete."""
    train, holdout = taken(exported(job, name, tmp_path / "out"), name, tmp_path)
    assert written(train) == written(Path(job.output_dir))
    assert written(holdout) == written(Path(job.holdout_dir))
    report = verify([train])
    assert report.ok and report.coverage.complete, report.findings


@pytest.mark.parametrize("name", IMPORTS)
def test_an_import_goes_out_as_it_came(name: str, job: Job, tmp_path: Path) -> None:
    """Exported again, an import has the payload bytes of the files that it was made from."""
    directories = taken(exported(job, name, tmp_path / "out"), name, tmp_path)
    exported(job, name, tmp_path / "again", *map(str, directories))
    suffixes = {"parquet": (), "catid": (".bin", ".yaml")}.get(name, (".bin", ".idx", ".ds", ".index"))
    one, two = (
        {path: data for path, data in sorted(tree_of(tmp_path / root).items()) if path.endswith(suffixes or ("x",))}
        for root in ("out", "again")
    )
    assert bool(one) == bool(suffixes)
    # Shards are numbered anew, and those without documents are no files of datatrove's.
    assert list(one.values()) == list(two.values())
    assert payload(directories[0]) == payload(Path(job.output_dir))


@pytest.mark.parametrize("name", IMPORTS)
def test_units_are_files(name: str, job: Job, tmp_path: Path) -> None:
    """Every file is a unit, train first, whose record says which file it was."""
    out = exported(job, name, tmp_path / "out")
    train, holdout = taken(out, name, tmp_path)
    patterns = {"megatron": "*.bin", "datatrove": "*.ds", "parquet": "*.parquet", "catid": "data_*.bin"}
    files = {path.relative_to(out).as_posix() for path in out.rglob(patterns.get(name, "*.bin"))}
    names = [shard.record.source.path for shard in open_stored(train).shards]
    assert set(names) == files and len(names) == len(files)
    splits = [split_of(path) for path in names]
    assert splits == sorted(splits, reverse=True) and set(splits) == {"train", "holdout"}
    held = [shard.record.documents > 0 for shard in open_stored(holdout).shards]
    assert any(held) and not any(held[: splits.index("holdout")])


@pytest.mark.parametrize("name", IMPORTS)
def test_one_file_is_for_train(name: str, job: Job, tmp_path: Path) -> None:
    """A file given by itself is for train, whatever it is called."""
    out = exported(job, name, tmp_path / "out")
    relative = {
        "megatron": "val_text_document.idx",
        "nanogpt": "val.bin",
        "datatrove": "val/000000.ds",
        "catid": "val/index.yaml",
        "llmc": "shardfleet_train_000001.bin",
        "parquet": "test/test-00000-of-{}.parquet",
    }[name]
    if name == "parquet":
        relative = sorted((out / "test").iterdir())[0].relative_to(out).as_posix()
    if name == "llmc":  # its first file alone ends within a document: the second belongs to it
        with pytest.raises(SourceError, match=r"train_000001\.bin.*end-of-document id"):
            taken(_shortened(out / relative), name, tmp_path)
        return
    train, _ = taken(out / relative, name, tmp_path)
    whole = written(Path(job.holdout_dir))
    found = written(train)
    assert found == whole[: len(found)] and found


def _shortened(path: Path) -> Path:
    """A file of llm.c whose last document is cut in two by its end."""
    header, tokens = np.fromfile(path, dtype="<i4", count=256), np.fromfile(path, dtype="<u2", offset=1024)
    assert tokens[0] == EOD
    bad = path.with_name("alone_train_000001.bin")
    tokens[0] = 1
    bad.write_bytes(header.tobytes() + tokens.tobytes())
    return bad


def test_the_same_files_give_the_same_fingerprint(job: Job, tmp_path: Path) -> None:
    """Wherever the files lie, equal ones give equal shards under one fingerprint."""
    out = exported(job, "nanogpt", tmp_path / "out")
    one, _ = taken(out, "nanogpt", tmp_path)
    shutil.copytree(out, tmp_path / "elsewhere")
    two = tmp_path / "two"
    import_tokens(tmp_path / "elsewhere", "nanogpt", two, tmp_path / "two_holdout", BYTES)
    assert open_stored(one).record.fingerprint == open_stored(two).record.fingerprint
    assert payload(one) == payload(two)


# Files that other tools write


def megatron_files(
    prefix: Path, documents: list[list[int]], dtype: str, code: int, sequences: list[int] | None = None
) -> None:
    """A pair, written after the format's description; `sequences` is how many each document has."""
    flat = [token for document in documents for token in document]
    prefix.with_suffix(".bin").write_bytes(np.array(flat, dtype=dtype).tobytes())
    counts = sequences or [1] * len(documents)
    lengths = [len(part) for document, n in zip(documents, counts, strict=True) for part in np.array_split(document, n)]
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1])) * np.dtype(dtype).itemsize
    boundaries = np.concatenate(([0], np.cumsum(counts)))
    prefix.with_suffix(".idx").write_bytes(
        b"MMIDIDX\0\0"
        + np.array([1], "<u8").tobytes()
        + bytes([code])
        + np.array([len(lengths), len(boundaries)], "<u8").tobytes()
        + np.array(lengths, "<i4").tobytes()
        + starts.astype("<i8").tobytes()
        + boundaries.astype("<i8").tobytes()
    )


@pytest.mark.parametrize(("dtype", "code"), [("<u2", 8), ("<i4", 4), ("<i8", 5), ("<i2", 3)])
def test_megatron_ids_of_any_width(dtype: str, code: int, tmp_path: Path) -> None:
    """Ids are narrowed to what the vocabulary needs; a document may have several sequences."""
    megatron_files(tmp_path / "text", DOCUMENTS, dtype, code, sequences=[2, 1, 1, 3])
    for given in ("text", "text.bin", "text.idx"):
        train, holdout = taken(tmp_path / given, "megatron", tmp_path / f"from-{given}")
        assert written(train) == DOCUMENTS and written(holdout) == []
        assert read_index(train / "000000.idx").dtype == "uint16"


def test_wide_vocabularies_are_written_wide(tmp_path: Path) -> None:
    """A vocabulary over 65,536 has four bytes a token, from int32 as from uint32."""
    options = ImportOptions(replace(BYTES_SPEC, vocab_size=70_000))
    documents = [[69_999, EOD], [1, EOD]]
    megatron_files(tmp_path / "text", documents, "<i4", 4)
    assert written(taken(tmp_path / "text", "megatron", tmp_path / "a", options)[0]) == documents
    flat = np.array([69_999, EOD, 1, EOD], dtype="<u4")
    (tmp_path / "train.bin").write_bytes(flat.tobytes())
    assert written(taken(tmp_path / "train.bin", "nanogpt", tmp_path / "b", options)[0]) == documents
    header = np.zeros(256, dtype="<i4")
    header[:3] = 20240801, 7, 4
    (tmp_path / "llama.bin").write_bytes(header.tobytes() + np.array([EOD, 69_999, EOD, 1], "<u4").tobytes())
    assert written(taken(tmp_path / "llama.bin", "llmc", tmp_path / "c", options)[0]) == documents
    (tmp_path / "x.ds").write_bytes(flat.tobytes())
    (tmp_path / "x.ds.index").write_bytes(np.array([2, 4], "<u8").tobytes())
    assert written(taken(tmp_path / "x.ds", "datatrove", tmp_path / "d", options)[0]) == documents


def test_nanogpt_of_a_changed_script(tmp_path: Path) -> None:
    """--ids says that a file has uint32, whatever the vocabulary needs."""
    (tmp_path / "train.bin").write_bytes(np.concatenate(DOCUMENTS).astype("<u4").tobytes())
    train, _ = taken(tmp_path / "train.bin", "nanogpt", tmp_path, ImportOptions(BYTES_SPEC, "uint32"))
    assert written(train) == DOCUMENTS


def test_megatron_without_end_of_document(tmp_path: Path) -> None:
    """Files made without --append-eod are taken with --eod none, and refused with an id that is not there."""
    bare = [document[:-1] for document in DOCUMENTS]
    megatron_files(tmp_path / "text", bare, "<u2", 8)
    with pytest.raises(SourceError, match=r"text\.bin: a document does not end with .* \(256\).*--eod none"):
        taken(tmp_path / "text", "megatron", tmp_path)
    train, holdout = taken(tmp_path / "text", "megatron", tmp_path, ImportOptions(replace(BYTES_SPEC, eod_id=None)))
    assert written(train) == bare
    assert verify([train, holdout]).coverage.complete


def test_catid_gets_its_ends_back(job: Job, tmp_path: Path) -> None:
    """Spans have no end-of-document id: the tokenizer's is set behind each, with --eod none nothing is."""
    out = exported(job, "catid", tmp_path / "out")
    bare = replace(BYTES_SPEC, eod_id=None)
    train, _ = taken(out, "catid", tmp_path, ImportOptions(bare))
    assert written(train) == [document[:-1] for document in written(Path(job.output_dir))]


@pytest.mark.parametrize("kind", [pa.list_(pa.int32()), pa.large_list(pa.uint16()), pa.list_(pa.int64(), 3)], ids=str)
def test_parquet_lists_of_any_kind(kind: Any, tmp_path: Path) -> None:
    """Rows are documents, whatever integers their lists are of, beside columns that nobody asks for."""
    rows = [[1, 2, EOD], [3, 4, EOD]]
    pq.write_table(pa.table({"input_ids": pa.array(rows, kind), "mask": [1, 1]}), tmp_path / "rows.parquet")
    assert written(taken(tmp_path / "rows.parquet", "parquet", tmp_path)[0]) == rows


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_documents_across_blocks(size: int) -> None:
    """Documents that only an id ends come out whole, wherever the stream is cut."""
    flat = np.concatenate(DOCUMENTS[:3] * 3)
    found = [
        block.ids[start:end].tolist()
        for block in by_end(np.array_split(flat, range(size, len(flat), size)), EOD, "here")
        for start, end in pairwise(block.offsets.tolist())
    ]
    assert found == DOCUMENTS[:3] * 3


# What is refused


def _cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:-size])


def _set(path: Path, position: int, byte: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] = byte
    path.write_bytes(data)


HARM = [
    ("megatron", "train_text_document.bin", lambda path: _cut(path, 2)),
    ("megatron", "train_text_document.idx", lambda path: _cut(path, 8)),
    ("megatron", "train_text_document.idx", lambda path: _set(path, 0, 0)),
    ("megatron", "train_text_document.idx", lambda path: _set(path, 17, 6)),
    ("megatron", "train_text_document.idx", lambda path: _set(path, 34, 0)),
    ("megatron", "train_text_document.bin", lambda path: _set(path, 1, 200)),
    ("megatron", "train_text_document.bin", lambda path: path.unlink()),
    ("nanogpt", "train.bin", lambda path: _cut(path, 1)),
    ("nanogpt", "train.bin", lambda path: _cut(path, 2)),
    ("nanogpt", "val.bin", lambda path: _set(path, 1, 200)),
    ("datatrove", "train/000003.ds", lambda path: _cut(path, 2)),
    ("datatrove", "train/000003.ds.index", lambda path: _cut(path, 3)),
    ("datatrove", "train/000003.ds.index", lambda path: path.unlink()),
    ("datatrove", "train/000003.ds", lambda path: shutil.copy(path.with_name("000002.ds"), path)),
    ("catid", "train/data_0.bin", lambda path: _cut(path, 1)),
    ("catid", "train/data_0.bin", lambda path: _set(path, 40, path.read_bytes()[40] ^ 4)),
    ("catid", "train/index_0.bin", lambda path: _set(path, 4, path.read_bytes()[4] ^ 1)),
    ("catid", "train/index_0.bin", lambda path: _cut(path, 8)),
    ("catid", "train/index.yaml", lambda path: path.write_text("version: 13\ndata_files: []\nindex_files: []\n")),
    ("llmc", "shardfleet_train_000002.bin", lambda path: _cut(path, 2)),
    ("llmc", "shardfleet_train_000002.bin", lambda path: _set(path, 1, 0)),
    ("llmc", "shardfleet_train_000002.bin", lambda path: path.write_bytes(b"short")),
    ("llmc", "shardfleet_val_000000.bin", lambda path: _set(path, 1024, 1)),
    ("parquet", "train/train-00000-of-{}.parquet", lambda path: _cut(path, 9)),
]


@pytest.mark.parametrize(("name", "file", "harm"), HARM)
def test_damage_is_named(name: str, file: str, harm: Any, job: Job, tmp_path: Path) -> None:
    """A file that is cut short, changed, of another kind or gone is named, and nothing is left of the import."""
    out = tmp_path / "out"
    shutil.copytree(exported(job, name, tmp_path / "linked"), out)  # links lead to shards that others need
    shutil.rmtree(tmp_path / "linked")
    path = sorted((out / "train").iterdir())[0] if name == "parquet" else out / file
    harm(path)
    stem = path.name.removesuffix(".idx").removesuffix(".bin").removesuffix(".index")
    with pytest.raises(ShardError, match=stem):
        taken(out, name, tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", IMPORTS)
def test_ids_of_another_tokenizer(name: str, job: Job, tmp_path: Path) -> None:
    """An id past the vocabulary is refused with the file, the id and the vocabulary."""
    out = exported(job, name, tmp_path / "out")
    small = ImportOptions(replace(BYTES_SPEC, vocab_size=100, eod_id=99))
    with pytest.raises(SourceError, match=r"out/.*(outside the vocabulary of bytes \(100\)|end-of-document id)"):
        taken(out, name, tmp_path, small)


def test_end_of_document_inside_a_document(tmp_path: Path) -> None:
    """Where no text is encoded to the end-of-document id, one inside a document is no text."""
    megatron_files(tmp_path / "text", [[1, EOD, 2, EOD]], "<u2", 8)
    with pytest.raises(SourceError, match=r"text\.bin.*stands inside a document"):
        taken(tmp_path / "text", "megatron", tmp_path)


@pytest.mark.parametrize("name", ["nanogpt", "llmc"])
def test_boundaries_need_an_id(name: str, job: Job, tmp_path: Path) -> None:
    """Formats without an index cannot be taken with --eod none."""
    out = exported(job, name, tmp_path / "out")
    with pytest.raises(JobError, match="--eod none"):
        taken(out, name, tmp_path, ImportOptions(replace(BYTES_SPEC, eod_id=None)))


@pytest.mark.parametrize("name", [name for name in IMPORTS if name != "nanogpt"])
def test_width_is_for_files_that_do_not_say_it(name: str, tmp_path: Path) -> None:
    """--ids is refused where files say how wide ids are."""
    with pytest.raises(JobError, match="--ids uint32"):
        taken(tmp_path, name, tmp_path, ImportOptions(BYTES_SPEC, "uint32"))


def test_targets_that_exist(job: Job, tmp_path: Path) -> None:
    """An import replaces nothing, neither shards nor holdout."""
    out = exported(job, "nanogpt", tmp_path / "out")
    for name in ("in", "in_holdout"):
        (tmp_path / name).mkdir()
        with pytest.raises(StoreError, match=rf"{tmp_path / name}: exists"):
            taken(out, "nanogpt", tmp_path)
        (tmp_path / name).rmdir()
    with pytest.raises(StoreError, match="same directory"):
        import_tokens(out, "nanogpt", tmp_path / "in", tmp_path / "in", BYTES)
    with pytest.raises(JobError, match="no such file"):
        taken(tmp_path / "nothing", "nanogpt", tmp_path)
    with pytest.raises(JobError, match=r"holds no \*\.parquet"):
        taken(out, "parquet", tmp_path)


def test_modes_are_not_text(tmp_path: Path) -> None:
    """A multimodal index is refused as such."""
    (tmp_path / "text.bin").write_bytes(np.array([1, EOD], "<u2").tobytes())
    (tmp_path / "text.idx").write_bytes(index_bytes([np.array([2], np.int32)], "uint16") + b"\0")
    with pytest.raises(SourceError, match="multimodal"):
        taken(tmp_path / "text", "megatron", tmp_path)


def test_lengths_that_no_document_has(tmp_path: Path) -> None:
    """An index that gives a document less than nothing, or more than any can have, is refused before it is read."""
    (tmp_path / "x.ds").write_bytes(np.array([1, EOD, 2, EOD], "<u2").tobytes())
    for ends in ([3, 2, 4], [1 << 40, 4]):
        (tmp_path / "x.ds.index").write_bytes(np.array(ends, "<u8").tobytes())
        with pytest.raises(SourceError, match=r"x\.ds\.index: document"):
            taken(tmp_path / "x.ds", "datatrove", tmp_path)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    """Records are JSON: a file that they cannot name is refused."""
    path = tmp_path / "tokens" / os.fsdecode(b"\xff.bin")
    path.parent.mkdir()
    path.write_bytes(np.array([1, EOD], "<u2").tobytes())
    for given in (path, path.parent):
        with pytest.raises(JobError, match="not UTF-8"):
            taken(given, "nanogpt", tmp_path)


def test_a_directory_that_cannot_be_listed(tmp_path: Path) -> None:
    """Where the system does not say what a directory holds (here, its path is too long), files in it are not left out
    without a word."""
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a.bin").write_bytes(np.array([104, EOD], dtype="<u2").tobytes())
    here = os.open(tmp_path / "from", os.O_RDONLY)
    for _ in range(18):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(SourceError, match="cannot be listed: File name too long"):
        taken(tmp_path / "from", "nanogpt", tmp_path)
    assert not (tmp_path / "in").exists()
