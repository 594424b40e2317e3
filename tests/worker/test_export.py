"""shard/export: every format is read back by a reader written here from the format's description."""

import csv
import gzip
import hashlib
import json
import os
import resource
import shutil
from collections.abc import Iterator
from functools import reduce
from itertools import pairwise
from operator import xor
from pathlib import Path
from typing import Any

import cityhash
import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard

from shard.errors import JobError, ShardError, StoreError, VerificationError
from shard.export import offsets
from shard.export.options import ExportOptions
from shard.export.run import FORMATS, existing, export
from shard.formats.megatron import read_index
from shard.records.frozen import sealed_json
from shard.records.job import Holdout, Job
from tests.support.jobs import BYTES_SPEC, make_job, write_corpus
from tests.support.worker import write_all

EOD = 256
CONTEXT = 64


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Job:
    """Six units, of which one has no document, three in ten documents held out."""
    root = tmp_path_factory.mktemp("store")
    corpus = write_corpus(root / "corpus", [None, *documents[:59]], files=6)
    made = make_job(corpus, root, holdout=Holdout(rate=0.3), tokenizer=BYTES_SPEC)
    write_all(made, root)
    return made


@pytest.fixture
def both(job: Job, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of train and holdout, free to be damaged."""
    train, holdout = tmp_path / "shards", tmp_path / "holdout"
    shutil.copytree(job.output_dir, train)
    shutil.copytree(job.holdout_dir, holdout)
    return train, holdout


def written(directory: Path) -> list[list[int]]:
    """Every document of a directory of shards, end-of-document id included."""
    found = []
    for payload in sorted(directory.glob("[0-9]*.bin")):
        tokens = np.fromfile(payload, dtype="<u2")
        ends = np.cumsum(read_index(payload.with_suffix(".idx")).lengths)
        found += [tokens[start:end].tolist() for start, end in pairwise([0, *ends])]
    assert found
    return found


def joined(documents: list[list[int]]) -> list[int]:
    return [token for document in documents for token in document]


def options_for(name: str) -> ExportOptions:
    """What a format cannot do without over these shards."""
    return ExportOptions(
        context_length=CONTEXT if name == "parquet-packed" else None,
        shard_tokens=4000 if name == "llmc" else None,
        local_ranks=2 if name == "catid" else None,
    )


def check(out: Path, train: list[list[int]], holdout: list[list[int]], read: Any) -> None:
    assert read(out, "train") == train
    assert read(out, "val") == holdout


# Readers: (export, split) → documents, or the tokens of all in a row


def read_nanogpt(out: Path, split: str) -> list[int]:
    found: list[int] = np.memmap(out / f"{split}.bin", dtype=np.uint16, mode="r").tolist()
    return found


def read_megatron(out: Path, split: str) -> list[list[int]]:
    base = out / f"{split}_text_document"
    index = read_index(base.with_suffix(".idx"))
    payload = base.with_suffix(".bin").read_bytes()
    return [
        np.frombuffer(payload, dtype="<u2", offset=int(start), count=int(length)).tolist()
        for start, length in zip(index.byte_offsets, index.lengths, strict=True)
    ]


def read_datatrove(out: Path, split: str) -> list[list[int]]:
    found = []
    for path in sorted((out / split).glob("*.ds")):
        tokens = np.fromfile(path, dtype="<u2")
        ends = np.fromfile(f"{path}.index", dtype="<u8").tolist()
        name, count, human = Path(f"{path}.metadata").read_text().split("\n")
        assert name.split("|") == ["bytes", "2"]
        assert int(count) == len(tokens) == ends[-1]
        assert human.endswith("T")
        found += [tokens[start:end].tolist() for start, end in pairwise([0, *ends])]
    return found


def read_olmo(out: Path, split: str) -> list[list[int]]:
    found = []
    for path in sorted((out / split).glob("*.npy")):
        tokens = np.fromfile(path, dtype="<u2")
        with gzip.open(path.with_suffix(".csv.gz"), "rt", newline="") as file:
            rows = list(csv.reader(file))
        assert int(rows[-1][1]) == len(tokens)
        found += [tokens[int(start) : int(end)].tolist() for start, end, *_ in rows]
    return found


def read_llmc(out: Path, split: str) -> list[int]:
    found: list[int] = []
    for path in sorted(out.glob(f"shardfleet_{split}_*.bin")):
        header = np.fromfile(path, dtype="<i4", count=256)
        tokens = np.fromfile(path, dtype="<u2", offset=1024)
        assert header[:3].tolist() == [20240520, 1, len(tokens)]
        assert not header[3:].any()
        assert path.stat().st_size == 1024 + 2 * len(tokens)
        found += tokens.tolist()
    return found


def items(path: Path, header: int = 0) -> Iterator[bytes]:
    """The items of a file that begins with their number and offsets."""
    data = path.read_bytes()
    count = int.from_bytes(data[:4], "little")
    places = np.frombuffer(data, dtype="<u4", offset=4, count=count + 1).tolist()
    assert places[0] == 4 * (count + 2) + header
    assert places[-1] == len(data)
    return (data[start:end] for start, end in pairwise(places))


def read_mds(out: Path, split: str) -> list[list[int]]:
    index = json.loads((out / split / "index.json").read_text())
    assert index["version"] == 2
    found = []
    for shard in index["shards"]:
        path = out / split / shard["raw_data"]["basename"]
        config = {key: value for key, value in shard.items() if key not in ("samples", "raw_data", "zip_data")}
        header = json.dumps(config, sort_keys=True).encode()
        assert path.stat().st_size == shard["raw_data"]["bytes"]
        held = list(items(path, len(header)))
        assert len(held) == shard["samples"]
        assert path.read_bytes()[4 * (len(held) + 2) :].startswith(header)
        found += [_mds_sample(sample, shard["column_sizes"][0]) for sample in held]
    return found


def _mds_sample(sample: bytes, fixed: int | None) -> list[int]:
    if fixed is not None:
        assert len(sample) == fixed
        return np.frombuffer(sample, dtype="<u2").tolist()
    size, value = int.from_bytes(sample[:4], "little"), sample[4:]
    assert size == len(value)
    dimensions, code = divmod(value[0], 4)
    assert dimensions == 1
    tokens = np.frombuffer(value, dtype="<u2", offset=1 + (1 << code))
    assert int.from_bytes(value[1 : 1 + (1 << code)], "little") == len(tokens)
    return tokens.tolist()


def read_litdata(out: Path, split: str) -> list[list[int]]:
    index = json.loads((out / split / "index.json").read_text())
    assert index["config"]["data_format"] == ["no_header_numpy:5"]
    found = []
    for chunk in index["chunks"]:
        path = out / split / chunk["filename"]
        held = [np.frombuffer(item, dtype="<u2").tolist() for item in items(path)]
        assert (chunk["chunk_size"], chunk["dim"]) == (len(held), sum(map(len, held)))
        assert chunk["chunk_bytes"] == path.stat().st_size
        found += held
    return found


def read_parquet(out: Path, split: str, column: str = "input_ids") -> list[list[int]]:
    folder = {"train": "train", "val": "test"}[split]
    paths = sorted((out / folder).iterdir())
    assert [path.name for path in paths] == [f"{folder}-{i:05d}-of-{len(paths):05d}.parquet" for i in range(len(paths))]
    return [row for path in paths for row in pq.read_table(path)[column].to_pylist()]


def read_catid(out: Path, split: str) -> list[list[int]]:
    """Spans, with the end-of-document id put back; the hashes are checked as the format's verifier does."""
    facts = msgspec.yaml.decode((out / split / "index.yaml").read_bytes())
    assert (facts["version"], facts["token_bytes"]) == (14, 2)
    found = []
    for data_name, index_name in zip(facts["data_files"], facts["index_files"], strict=True):
        data, index = ((out / split / name).read_bytes() for name in (data_name, index_name))
        records = np.frombuffer(index[:-14], dtype="<u4").reshape(-1, 2).tolist()
        (end,) = np.frombuffer(index[-14:-10], dtype="<u4").tolist()
        frames = [data[start:stop] for start, stop in pairwise([*(place for place, _ in records), end])]
        assert end == len(data) - 10
        for footer, head, pieces in (
            (data[-10:], 2, frames),
            (index[-14:], 6, [index[i : i + 8] for i in range(0, len(index) - 14, 8)]),
        ):
            hashes = [cityhash.CityHash64(piece) for piece in (*pieces, footer[:head])]
            assert int.from_bytes(footer[head:], "little") == reduce(xor, hashes)
        for frame, (_, count) in zip(frames, records, strict=True):
            low, high = np.frombuffer(zstandard.decompress(frame), dtype=np.uint8).reshape(2, count).astype(int)
            found.append([*(low + 256 * high).tolist(), EOD])
    assert sum(map(len, found)) - len(found) == facts["total_tokens"]
    return found


WHOLE = {
    "catid": read_catid,
    "megatron": read_megatron,
    "datatrove": read_datatrove,
    "olmo": read_olmo,
    "mds": read_mds,
}
WHOLE |= {"litdata": read_litdata, "parquet": read_parquet}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("size", [None, 1500], ids=["one file", "many files"])
def test_documents_come_back(name: str, size: int | None, both: tuple[Path, Path], tmp_path: Path) -> None:
    """Formats that keep documents give back every one, in order, however many files they are cut into."""
    if size is not None and name in ("megatron", "datatrove", "olmo"):
        with pytest.raises(JobError, match="--shard-size 1500"):
            export(both, name, tmp_path / "out", ExportOptions(shard_tokens=size))
        return
    export(both, name, tmp_path / "out", ExportOptions(shard_tokens=size, local_ranks=2 if name == "catid" else None))
    check(tmp_path / "out", written(both[0]), written(both[1]), WHOLE[name])
    if size is not None:
        files = [path for path in (tmp_path / "out" / "train").iterdir() if path.suffix != ".json"]
        assert len(files) > 3


def test_catid_has_spans_for_eight_ranks(tmp_path: Path) -> None:
    """A file ends at its size only if it and the next have 56 documents, which eight local ranks need."""
    corpus = write_corpus(tmp_path / "corpus", [f"document {number}" for number in range(200)])
    job = make_job(corpus, tmp_path, tokenizer=BYTES_SPEC, holdout=Holdout(rate=0.0))
    write_all(job, tmp_path)
    export([Path(job.output_dir)], "catid", tmp_path / "out", ExportOptions(shard_tokens=10))
    sizes = [(path.stat().st_size - 14) // 8 for path in sorted((tmp_path / "out" / "train").glob("index_*"))]
    assert sizes == [56, 56, 88]
    assert read_catid(tmp_path / "out", "train") == written(Path(job.output_dir))


def test_nanogpt_is_all_payloads_in_a_row(both: tuple[Path, Path], tmp_path: Path) -> None:
    """train.bin and val.bin are the shards one after the other, byte for byte."""
    export(both, "nanogpt", tmp_path / "out", ExportOptions())
    check(tmp_path / "out", joined(written(both[0])), joined(written(both[1])), read_nanogpt)


def test_llmc_has_the_id_before_documents(both: tuple[Path, Path], tmp_path: Path) -> None:
    """The end-of-document id stands before every document; files are full but the last; validation is file 0."""
    export(both, "llmc", tmp_path / "out", ExportOptions(shard_tokens=5000))
    train, holdout = (joined([[EOD, *document[:-1]] for document in written(path)]) for path in both)
    check(tmp_path / "out", train, holdout, read_llmc)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.bin"))
    assert names[0] == "shardfleet_train_000001.bin"
    assert "shardfleet_val_000000.bin" in names
    sizes = [path.stat().st_size for path in sorted((tmp_path / "out").glob("*train*.bin"))]
    assert set(sizes[:-1]) == {1024 + 2 * 5000}


def test_llmc_with_one_train_file_is_refused(both: tuple[Path, Path], tmp_path: Path) -> None:
    """modded-nanogpt fails on one train file: the error names a size that gives two."""
    with pytest.raises(JobError, match=r"take --shard-size \d+ or less") as caught:
        export(both, "llmc", tmp_path / "out", ExportOptions())
    size = int(str(caught.value).split("--shard-size ")[1].split()[0])
    export(both, "llmc", tmp_path / "out", ExportOptions(shard_tokens=size))
    assert len(list((tmp_path / "out").glob("*train*.bin"))) == 2


def test_llmc_without_tokens_has_no_remedy(tmp_path: Path) -> None:
    """Where there is nothing to cut, no size is named that would be refused again."""
    job = make_job(write_corpus(tmp_path / "corpus", [None, ""]), tmp_path, tokenizer=BYTES_SPEC)
    write_all(job, tmp_path)
    with pytest.raises(JobError, match="0 tokens, and modded-nanogpt needs two files"):
        export([Path(job.output_dir)], "llmc", tmp_path / "out", ExportOptions())


@pytest.mark.parametrize(("name", "read"), [("mds", read_mds), ("parquet", read_parquet)])
def test_windows(name: str, read: Any, both: tuple[Path, Path], tmp_path: Path) -> None:
    """With a context length samples are windows of all tokens in a row; what fills none is counted."""
    done = export(both, name, tmp_path / "out", ExportOptions(context_length=CONTEXT))
    streams = [joined(written(path)) for path in both]
    train, holdout = (
        [stream[i : i + CONTEXT] for i in range(0, len(stream) - CONTEXT + 1, CONTEXT)] for stream in streams
    )
    check(tmp_path / "out", train, holdout, read)
    assert done.left_out == sum(len(stream) % CONTEXT for stream in streams) > 0
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert sum(split["left_out"] for split in facts["splits"].values()) == done.left_out


@pytest.mark.parametrize("name", ["mds", "parquet", "parquet-packed"])
def test_a_split_that_fills_no_sample(name: str, both: tuple[Path, Path], tmp_path: Path) -> None:
    """Where a split is shorter than a sample the note says so, also that of an export which is there already."""
    tokens = len(joined(written(both[1])))
    options = ExportOptions(context_length=tokens + 1)
    done = export(both, name, tmp_path / "out", options)
    assert done.note is not None
    assert f"holdout is empty (its {tokens:,} tokens fill no sample of {tokens + 1})" in done.note
    there = existing(both, name, tmp_path / "out", options)
    assert there is not None
    assert there.note == done.note
    assert export(both, name, tmp_path / "fits", ExportOptions(context_length=CONTEXT)).note is None


@pytest.mark.parametrize("name", ["nanogpt", "olmo"])
def test_a_split_without_documents(name: str, tmp_path: Path, documents: list[str]) -> None:
    """An empty file is no data to map: the note says that there is one, beside what it says of the format."""
    job = make_job(write_corpus(tmp_path / "in", documents[:10]), tmp_path, holdout=Holdout(rate=0.0))
    write_all(job)
    note = export([tmp_path / "train", tmp_path / "holdout"], name, tmp_path / "out", ExportOptions()).note
    assert note is not None
    assert "holdout is empty (no token)" in note
    assert ("bos" in note) == (name == "olmo")


def test_packed_parquet(both: tuple[Path, Path], tmp_path: Path) -> None:
    """The packed layout has a mask of ones, and labels that are the tokens."""
    export(both, "parquet-packed", tmp_path / "out", ExportOptions(context_length=CONTEXT))
    tokens = read_parquet(tmp_path / "out", "train")
    assert tokens == read_parquet(tmp_path / "out", "train", "labels")
    assert {tuple(row) for row in read_parquet(tmp_path / "out", "train", "attention_mask")} == {(1,) * CONTEXT}
    assert joined(tokens) == joined(written(both[0]))[: len(tokens) * CONTEXT]
    with pytest.raises(JobError, match="needs --context-length"):
        export(both, "parquet-packed", tmp_path / "other", ExportOptions())


@pytest.mark.parametrize("length", [None, CONTEXT])
def test_parquet_files_end_at_their_size(length: int | None, both: tuple[Path, Path], tmp_path: Path) -> None:
    """Every file but the last has the tokens asked for, and would not have them without its last row, however many rows
    are written at once."""
    options = ExportOptions(context_length=length, shard_tokens=200)
    export(both, "parquet" if length is None else "parquet-packed", tmp_path / "out", options)
    for split in ("train", "test"):
        files = [pq.read_table(path)["input_ids"].to_pylist() for path in sorted((tmp_path / "out" / split).iterdir())]
        assert len(files) > 3
        for rows in files[:-1]:
            assert len(joined(rows)) >= 200 > len(joined(rows[:-1]))
        assert len(joined(files[-1][:-1])) < 200


def test_rows_of_one_length(both: tuple[Path, Path], tmp_path: Path) -> None:
    """What fills no row is carried from batch to batch and shard to shard: every row is whole, nothing is lost between
    two documents, and less than a row at the very end."""
    for length in (7, CONTEXT):
        done = export(both[:1], "parquet-packed", tmp_path / str(length), ExportOptions(context_length=length))
        rows = read_parquet(tmp_path / str(length), "train")
        stream = joined(written(both[0]))
        assert {len(row) for row in rows} == {length}
        assert joined(rows) == stream[: len(stream) - len(stream) % length]
        assert done.left_out == len(stream) % length


@pytest.mark.parametrize("rows", [1, 10])
def test_exactly_so_many_test_rows(rows: int, both: tuple[Path, Path], tmp_path: Path) -> None:
    """--test-size takes exactly so many rows out of train, the same ones every time; the others stay in order."""
    options = ExportOptions(context_length=CONTEXT, test_rows=rows, shard_tokens=20 * CONTEXT)
    for name in ("one", "two"):
        export(both[:1], "parquet-packed", tmp_path / name, options)
    stream = joined(written(both[0]))
    everything = [stream[i : i + CONTEXT] for i in range(0, len(stream) - CONTEXT + 1, CONTEXT)]
    train, test = (read_parquet(tmp_path / "one", split) for split in ("train", "val"))
    assert (len(test), len(train)) == (rows, len(everything) - rows)
    assert sorted(train + test) == sorted(everything)
    assert train == [row for row in everything if row in train]
    for path in (tmp_path / "one").rglob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_test_rows_that_cannot_be_had(both: tuple[Path, Path], tmp_path: Path) -> None:
    """Of the holdout, of another format, or of all there is, no rows are drawn."""
    options = ExportOptions(context_length=CONTEXT, test_rows=10)
    for directories, name in ((both, "parquet-packed"), (both[1:], "parquet-packed"), (both[:1], "parquet")):
        with pytest.raises(JobError, match="--test-size 10: draws rows of parquet-packed from the train shards"):
            export(directories, name, tmp_path / "out", options)
    with pytest.raises(JobError, match=r"--test-size 1000000: there are [0-9]+ rows in all"):
        export(both[:1], "parquet-packed", tmp_path / "out", ExportOptions(context_length=CONTEXT, test_rows=10**6))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["datatrove", "olmo"])
def test_payload_costs_nothing_again(name: str, both: tuple[Path, Path], tmp_path: Path) -> None:
    """Formats with our payload share it by hard links."""
    done = export(both, name, tmp_path / "out", ExportOptions())
    payloads = [path for path in both[0].glob("[0-9]*.bin") if path.stat().st_size]
    assert {path.stat().st_nlink for path in payloads} == {2}
    assert done.linked_bytes == 2 * done.tokens
    assert done.disk_bytes < done.linked_bytes


@pytest.mark.parametrize("name", FORMATS)
def test_exports_are_the_same_every_time(name: str, both: tuple[Path, Path], tmp_path: Path) -> None:
    """Two exports of the same shards are equal byte for byte; export.json tells the truth about every file."""
    options = options_for(name)
    for out in (tmp_path / "one", tmp_path / "two"):
        export(both, name, out, options)
    one, two = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two
    listed = json.loads(one.pop(Path("export.json")))["files"]
    assert listed == {
        str(name): {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in one.items()
    }


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("harm", ["flipped", "cut", "longer", "index", "gone", "swapped"])
def test_damage_is_found(name: str, harm: str, both: tuple[Path, Path], tmp_path: Path) -> None:
    """A damaged shard is named, nothing is left of the export, and the shards are as they were."""
    payload = both[0] / "000002.bin"
    data = bytearray(payload.read_bytes())
    target = payload
    if harm == "flipped":
        data[len(data) // 2] ^= 1
        payload.write_bytes(data)
    elif harm == "cut":
        payload.write_bytes(data[:-2])
    elif harm == "longer":
        payload.write_bytes(data + b"\0\0")
    elif harm == "index":
        target = payload.with_suffix(".idx")
        target.write_bytes(target.read_bytes()[:-8])
    elif harm == "gone":
        payload.unlink()
    else:
        target = payload.with_suffix(".idx")
        shutil.copy(both[0] / "000003.idx", target)
    before = {path: path.read_bytes() for path in both[0].iterdir()}
    options = options_for(name)
    with pytest.raises(VerificationError, match=str(target)):
        export(both, name, tmp_path / "out", options)
    assert {path: path.read_bytes() for path in both[0].iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holdout", "shards"]


def test_shards_of_another_directory_are_refused(both: tuple[Path, Path], tmp_path: Path) -> None:
    """A record that belongs elsewhere is named."""
    record = both[0] / "000002.json"
    shutil.copy(both[0] / "000003.json", record)
    with pytest.raises(VerificationError, match=str(record)):
        export(both, "nanogpt", tmp_path / "out", ExportOptions())


def test_target_that_exists_is_left_alone(both: tuple[Path, Path], tmp_path: Path) -> None:
    """An export replaces nothing."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(StoreError, match="exists"):
        export(both, "nanogpt", tmp_path / "out", ExportOptions())
    assert os.listdir(tmp_path / "out") == ["mine"]


def test_full_disk_leaves_nothing(both: tuple[Path, Path], tmp_path: Path) -> None:
    """When a file cannot be written, the error names the target, and nothing of the export is left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(ShardError, match=str(tmp_path / "out")):
            export(both, "nanogpt", tmp_path / "out", ExportOptions())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holdout", "shards"]


@pytest.mark.parametrize("name", ["nanogpt", "llmc"])
def test_wide_tokens_are_refused_by_narrow_readers(name: str, both: tuple[Path, Path], tmp_path: Path) -> None:
    """Readers of uint16 would take a uint32 token for two: refused with the vocabulary named."""
    path = both[0] / "dataset.json"
    facts = json.loads(path.read_bytes())
    facts["dtype"], facts["tokenizer"]["vocab_size"] = "uint32", 100_277
    del facts["seal"]
    path.write_bytes(sealed_json(facts))
    with pytest.raises(JobError, match="100277"):
        export([both[0]], name, tmp_path / "out", ExportOptions())


def test_wide_tokens_come_back(tmp_path: Path, documents: list[str]) -> None:
    """A vocabulary over 65,536 is exported with four bytes a token where the format can."""
    wide = msgspec.structs.replace(BYTES_SPEC, vocab_size=70_000)
    job = make_job(write_corpus(tmp_path / "corpus", documents[:20], files=2), tmp_path, tokenizer=wide)
    write_all(job, tmp_path)
    tokens = np.concatenate([np.fromfile(path, dtype="<u4") for path in sorted(Path(job.output_dir).glob("*.bin"))])
    export([Path(job.output_dir)], "parquet", tmp_path / "parquet", ExportOptions())
    assert joined(read_parquet(tmp_path / "parquet", "train")) == tokens.tolist()
    export([Path(job.output_dir)], "litdata", tmp_path / "litdata", ExportOptions())
    (chunk,) = (tmp_path / "litdata" / "train").glob("*.bin")
    assert b"".join(items(chunk)) == tokens.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context_length": 0}, "context length 0"),
        ({"shard_tokens": -1}, "shard tokens -1"),
        ({"name": "../up"}, "name '../up'"),
        ({"name": ""}, "name ''"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    """Each is refused by name."""
    with pytest.raises(JobError, match=message):
        ExportOptions(**options)


def test_one_directory_of_each_split(both: tuple[Path, Path], tmp_path: Path) -> None:
    """Two directories of one split would overwrite each other: refused."""
    with pytest.raises(JobError, match="one of each split"):
        export([both[0], both[0]], "nanogpt", tmp_path / "out", ExportOptions())


def test_items_larger_than_a_file(tmp_path: Path) -> None:
    """An item larger than the limit has a file to itself; empty input makes no file."""
    made = list(offsets.in_files([b"a" * 10, b"b" * 100, b"c"], 40, lambda n: tmp_path / str(n)))
    assert [held for _, held, _ in made] == [[b"a" * 10], [b"b" * 100], [b"c"]]
    assert [list(items(path)) for path, _, _ in made] == [held for _, held, _ in made]
    assert list(offsets.in_files([], 40, lambda n: tmp_path / "none")) == []
