"""shard/pipeline.py and shard/writer.py: a unit from its Parquet to its committed shards."""

import errno
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace as replace_field
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece
import tiktoken
import xxhash
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shard.batch import TextBatch, TokenBatch
from shard.errors import DiskFullError, SourceReadError, TokenizerError, TokenMismatchError
from shard.formats.megatron import read_index
from shard.pipeline import Workplace, write_unit
from shard.records.job import Holdout, Job
from shard.storage.store import committed, directories_of, open_store
from shard.tokenizer.panics import panics_named
from tests.support import disks
from tests.support.jobs import QUICK, json_spec, make_job, model_spec, rank_spec, write_corpus
from tests.support.worker import commit, workplace, write_all


def tokens_of(directory: Path, stem: str) -> list[list[int]]:
    """Every document of a shard, end-of-document id included, by its index."""
    index = read_index(directory / f"{stem}.idx")
    flat = np.fromfile(directory / f"{stem}.bin", dtype=index.dtype)
    ends = np.cumsum(index.lengths)
    assert len(flat) == (ends[-1] if len(ends) else 0)
    return [document.tolist() for document in np.split(flat, ends[:-1])] if len(ends) else []


def bytes_of(job: Job) -> dict[str, bytes]:
    """Every payload and index of a job."""
    return {
        f"{split}/{path.name}": path.read_bytes()
        for split, directory in directories_of(job).items()
        for path in sorted(directory.iterdir())
        if path.suffix in (".bin", ".idx")
    }


def visible(job: Job) -> set[str]:
    """All file names in the job's directories."""
    return {f"{s}/{p.name}" for s, d in directories_of(job).items() for p in d.iterdir() if p.name[0] != "."} | {
        f"{s}/{p.name}" for s, d in directories_of(job).items() for p in d.iterdir() if p.name.endswith(".tmp")
    }


# What is written


def test_every_document_once_on_its_side(
    corpus_dir: Path, rank_directory: Path, documents: list[str], tmp_path: Path
) -> None:
    """Over all units, train and holdout hold each document's tiktoken ids and the end-of-document id, in dataset
    order, on the side that the hash rule picks."""
    job = make_job(corpus_dir, tmp_path, parts=2, tokenizer=rank_spec(), holdout=Holdout(rate=0.2, seed=3))
    write_all(job, rank_directory)
    encoding = tiktoken.get_encoding("r50k_base")
    expected: dict[str, list[list[int]]] = {"train": [], "holdout": []}
    for document in documents:
        held = xxhash.xxh3_64_intdigest(document.encode(), 3) < 0.2 * 2**64
        expected["holdout" if held else "train"].append([*encoding.encode_ordinary(document), 50256])
    for split, directory in directories_of(job).items():
        assert expected[split] == [d for unit in job.units for d in tokens_of(directory, unit.stem)]
    assert expected["holdout"]


def test_records_say_what_was_written(corpus_dir: Path, documents: list[str], tmp_path: Path) -> None:
    """Rows in are train documents, holdout documents and dropped rows; hashes, sizes and sums are the files'."""
    rows = [*documents[:30], None, "", "  ", None]
    corpus = write_corpus(tmp_path / "in", rows, group_rows=7)
    job = make_job(corpus, tmp_path / "out")
    records = write_all(job)[0]
    train, holdout = records["train"], records["holdout"]
    assert train.dropped == {"null": 2, "empty": 1, "invalid_utf8": 0}
    assert holdout.dropped == {"null": 0, "empty": 0, "invalid_utf8": 0}
    assert len(rows) == train.documents + holdout.documents + sum(train.dropped.values())
    assert (0, len(rows), len(rows)) == (train.source.row_start, train.source.row_end, train.source.file_rows)
    assert sum(len((d or "").encode()) + 1 for d in rows if d) == train.tokens + holdout.tokens
    for split, record in records.items():
        directory = directories_of(job)[split]
        payload, index = ((directory / f"000000.{suffix}").read_bytes() for suffix in ("bin", "idx"))
        assert (len(payload), hashlib.sha256(payload).hexdigest()) == (record.payload_bytes, record.payload_sha256)
        assert hashlib.sha256(index).hexdigest() == record.index_sha256
        assert record.documents == len(tokens_of(directory, "000000"))


def test_a_unit_without_documents(tmp_path: Path) -> None:
    """No rows, or only dropped ones, still make a committed shard of nothing."""
    write_corpus(tmp_path / "in", ["", None], files=2)
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "in" / "part-2.parquet")
    job = make_job(tmp_path / "in", tmp_path / "out")
    records = write_all(job)
    assert [records[unit.ordinal]["train"].documents for unit in job.units] == [0, 0, 0]
    assert all(committed(job, directories_of(job), unit) for unit in job.units)
    assert [tokens_of(directories_of(job)["train"], unit.stem) for unit in job.units] == [[], [], []]


@pytest.mark.parametrize(("eod_id", "bos_id"), [(None, None), (0, None), (7, 3), (None, 0)])
def test_what_frames_a_document(
    eod_id: int | None, bos_id: int | None, small_tokenizer: Path, documents: list[str], tmp_path: Path
) -> None:
    """The ids before and after every document may be any of the vocabulary, or none."""
    write_corpus(tmp_path / "in", documents[:20])
    spec = replace(json_spec(small_tokenizer), eod_id=eod_id, bos_id=bos_id)
    job = make_job(tmp_path / "in", tmp_path / "out", tokenizer=spec, holdout=Holdout(rate=0.0))
    with workplace(job, small_tokenizer.parent) as place:
        commit(place, job.units[0])
        bare = [place.tokenizer.reference.encode(document.encode()) for document in documents[:20]]
    before, after = ([] if framing is None else [framing] for framing in (bos_id, eod_id))
    expected = [[*before, *ids, *after] for ids in bare]
    assert expected == tokens_of(directories_of(job)["train"], "000000")


def test_a_sentencepiece_model(small_model: Path, documents: list[str], tmp_path: Path) -> None:
    """A unit encoded by a SentencePiece `.model`, without and with its own frame, holds what sentencepiece says."""
    write_corpus(tmp_path / "in", documents[:60])
    processor = sentencepiece.SentencePieceProcessor(model_file=str(small_model))
    for frame in ({"eod_id": None}, {"bos_id": processor.bos_id()}):
        spec = replace(model_spec(small_model), **frame)
        job = make_job(tmp_path / "in", tmp_path / str(len(frame)) / next(iter(frame)), tokenizer=spec)
        write_all(job, small_model.parent)
        framed = "bos_id" in frame
        found = [tokens_of(directories_of(job)[split], "000000") for split in ("train", "holdout")]
        wanted = [processor.encode(text, add_bos=framed, add_eos=framed) for text in documents[:60]]
        assert sorted(found[0] + found[1]) == sorted(wanted)


def test_wide_ids(cl100k_directory: Path, documents: list[str], tmp_path: Path) -> None:
    """A vocabulary past 65,536 is written in four bytes a token."""
    write_corpus(tmp_path / "in", documents[:20])
    job = make_job(tmp_path / "in", tmp_path / "out", tokenizer=rank_spec("cl100k_base"), holdout=Holdout(rate=0.0))
    write_all(job, cl100k_directory)
    encoding = tiktoken.get_encoding("cl100k_base")
    expected = [[*encoding.encode_ordinary(document), 100257] for document in documents[:20]]
    assert expected == tokens_of(directories_of(job)["train"], "000000")


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.one_of(st.none(), st.text(max_size=50)), max_size=40),
    rate=st.sampled_from([0.0, 0.3, 0.9]),
    group_rows=st.integers(1, 50),
    parts=st.integers(1, 5),
)
def test_any_rows(
    rows: list[str | None], rate: float, group_rows: int, parts: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the rows and however the file is cut, the documents of all shards are the documents of the file."""
    base = tmp_path_factory.mktemp("any")
    write_corpus(base / "in", rows, group_rows=group_rows)
    job = make_job(base / "in", base / "out", parts=parts, holdout=Holdout(rate=rate))
    records = write_all(job)
    found = {
        split: [bytes(ids[:-1]) for unit in job.units for ids in tokens_of(directory, unit.stem)]
        for split, directory in directories_of(job).items()
    }
    wanted = [row.encode() for row in rows if row]
    held = [document for document in wanted if xxhash.xxh3_64_intdigest(document) < rate * 2**64]
    assert held == found["holdout"]
    assert [document for document in wanted if document not in held] == found["train"]
    assert len(rows) == sum(
        records[u.ordinal][split].documents + sum(records[u.ordinal][split].dropped.values())
        for u in job.units
        for split in ("train", "holdout")
    )


def test_the_same_bytes_again(corpus_dir: Path, rank_directory: Path, tmp_path: Path) -> None:
    """Payload and index depend on nothing but content and options: another directory, order and rank gives the same."""
    first = make_job(corpus_dir, tmp_path / "first", parts=3, tokenizer=rank_spec())
    second = make_job(corpus_dir, tmp_path / "second", parts=3, tokenizer=rank_spec(), host="other", run_id="x")
    write_all(first, rank_directory)
    with workplace(second, rank_directory) as place:
        for unit in reversed(second.units):
            commit(place, unit)
    assert bytes_of(first) == bytes_of(second)


def test_one_core_gives_the_same_bytes(corpus_dir: Path, rank_directory: Path, tmp_path: Path) -> None:
    """Stages in turns, as on one core, write what stages in threads write."""
    jobs = [make_job(corpus_dir, tmp_path / name, tokenizer=rank_spec()) for name in ("many", "one")]
    cores = os.sched_getaffinity(0)
    write_all(jobs[0], rank_directory)
    os.sched_setaffinity(0, {min(cores)})
    try:
        write_all(jobs[1], rank_directory)
    finally:
        os.sched_setaffinity(0, cores)
    assert bytes_of(jobs[0]) == bytes_of(jobs[1])


# When something fails


class Failing:
    """An engine that fails on the second batch."""

    name = "failing"

    def __init__(self) -> None:
        self._batches = 0

    def encode(self, batch: TextBatch) -> TokenBatch:
        self._batches += 1
        if self._batches == 2:
            raise OverflowError("no good")
        return TokenBatch(batch.data.astype(np.uint32), batch.offsets)


class Shifting:
    """An engine whose ids are off by one."""

    name = "shifting"

    def encode(self, batch: TextBatch) -> TokenBatch:
        return TokenBatch((batch.data + 1).astype(np.uint32), batch.offsets)


@contextmanager
def with_engine(job: Job, engine: Any) -> Iterator[Workplace]:
    with workplace(job) as place:
        yield replace_field(place, tokenizer=replace_field(place.tokenizer, engine=engine))


def test_a_wrong_engine_writes_nothing(corpus_dir: Path, tmp_path: Path) -> None:
    """When engine and reference differ the unit fails, and not a byte of it stays."""
    job = make_job(corpus_dir, tmp_path)
    with with_engine(job, Shifting()) as place:
        before = visible(job)
        with pytest.raises(TokenMismatchError, match="document 0"):
            write_unit(place, job.units[0])
        assert before == visible(job)


def test_an_error_within_the_engine(tmp_path: Path) -> None:
    """An error of any stage ends the unit with that error, all its threads and its temporary files."""
    write_corpus(tmp_path / "in", ["x" * 1_000_000] * 40, group_rows=40, use_dictionary=False)
    job = make_job(tmp_path / "in", tmp_path / "out")
    threads = threading.active_count()
    with with_engine(job, Failing()) as place:
        before = visible(job)
        with pytest.raises(OverflowError, match="no good"):
            write_unit(place, job.units[0])
        assert before == visible(job)
    assert threads == threading.active_count()


class HangingFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Files whose bytes past the first megabytes do not come, but for the footer."""

    protocol = "hanging"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    asked = threading.Event()
    release = threading.Event()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("hanging://", "memory://")))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        if 16 << 20 <= (start or 0) < self.size(path) - (64 << 10):
            self.asked.set()
            self.release.wait(20)
        found: bytes = super().cat_file(path, start=start, end=end, **options)
        return found


class FailingLate:
    """An engine that fails once the source hangs."""

    name = "failing late"

    def encode(self, batch: TextBatch) -> TokenBatch:
        assert HangingFileSystem.asked.wait(30)
        raise OverflowError("no good")


def test_a_failure_does_not_wait_for_the_source(tmp_path: Path) -> None:
    """When a later stage fails while the source hangs, the unit ends at once with that stage's error."""
    texts = [hashlib.sha256(bytes([row])).hexdigest() * 16_000 for row in range(40)]
    write_corpus(tmp_path, texts, group_rows=4, compression="none", use_dictionary=False)
    fsspec.register_implementation("hanging", HangingFileSystem, clobber=True)
    fsspec.filesystem("hanging").pipe_file("/in/part-0.parquet", (tmp_path / "part-0.parquet").read_bytes())
    # One span at a time, so that the one that hangs is asked for when the reader wants it.
    job = make_job("hanging://in", tmp_path / "out", options=replace(QUICK, spans_in_flight=1))
    started = time.monotonic()
    try:
        with with_engine(job, FailingLate()) as place, pytest.raises(OverflowError, match="no good"):
            write_unit(place, job.units[0])
        assert time.monotonic() - started < 10
        assert [thread.name for thread in threading.enumerate() if thread.name == "run-ahead"] == []
    finally:
        HangingFileSystem.release.set()


def test_a_damaged_file_in_the_middle(documents: list[str], tmp_path: Path) -> None:
    """A unit whose pages turn out damaged leaves nothing, and its neighbours are written."""
    write_corpus(tmp_path / "in", documents[:90], files=3, group_rows=10, compression="none", write_page_checksum=True)
    path = tmp_path / "in" / "part-1.parquet"
    data = bytearray(path.read_bytes())
    position = bytes(data).index(documents[55].encode()[:60])
    data[position] ^= 1
    path.write_bytes(data)
    job = make_job(tmp_path / "in", tmp_path / "out")
    with workplace(job) as place:
        commit(place, job.units[0])
        with pytest.raises(SourceReadError, match=r"part-1\.parquet"):
            write_unit(place, job.units[1])
        commit(place, job.units[2])
    assert [bool(committed(job, directories_of(job), unit)) for unit in job.units] == [True, False, True]
    assert not [name for name in visible(job) if "000001" in name]


class Striking:
    """Lets the n-th call of the system that could fail on a full or broken disk fail, or end the process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, strike: Callable[[], None]) -> None:
        self.calls = 0
        self.at = 0
        self._strike = strike
        for owner, name in ((os, "write"), (os, "fsync"), (os, "replace"), (os, "open")):
            monkeypatch.setattr(owner, name, self._counted(getattr(os, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            # Writes to pipes and reads of directories are not meant.
            self.calls += 1
            if self.calls == self.at:
                self._strike()
            return call(*args, **kwargs)

        return counted

    def arm(self, at: int) -> None:
        self.calls, self.at = 0, at


def no_space() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_at_any_moment(corpus_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever write, fsync or rename finds the disk full: the error says so and where, no temporary file stays,
    the unit does not count, and doing it again gives the same bytes."""
    reference = make_job(corpus_dir, tmp_path / "reference")
    reference = replace(reference, units=reference.units[:1])
    write_all(reference)
    job = replace(reference, output_dir=str(tmp_path / "out/train"), holdout_dir=str(tmp_path / "out/holdout"))
    unit = job.units[0]
    with workplace(job) as place:
        striking = Striking(monkeypatch, no_space)
        for at in range(1, 200):
            striking.arm(at)
            try:
                commit(place, unit)
            except DiskFullError as error:
                assert str(tmp_path / "out") in str(error)
                assert "free space" in str(error)
            else:
                break
            striking.arm(0)
            assert not [name for name in visible(job) if name.endswith(".tmp")]
            if committed(job, place.directories, unit):
                # The last fsync of all: the shard is whole, and stays what it is.
                assert bytes_of(reference) == bytes_of(job)
            commit(place, unit)
            assert bytes_of(reference) == bytes_of(job)
            for directory in place.directories.values():
                for path in directory.glob("0*"):
                    path.unlink()
        assert at > 15


_KILLED = """
import os, signal, sys
from pathlib import Path
from shard.records.frozen import read_record
from shard.records.job import Job
from tests.support.worker import commit, workplace
at, calls = int(sys.argv[2]), 0
def counted(call):
    def wrapper(*args, **kwargs):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return wrapper
job = read_record(Path(sys.argv[1]), Job)
with workplace(job) as place:
    for name in ("write", "fsync", "replace", "open"):
        setattr(os, name, counted(getattr(os, name)))
    commit(place, job.units[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 3, 5, 8, 11, 14, 17, 19, 21, 22, 23, 24, 25])
def test_killed_at_any_moment(at: int, corpus_dir: Path, tmp_path: Path) -> None:
    """After SIGKILL between any two steps of a commit a resume finds the unit whole or not done, never half."""
    job = make_job(corpus_dir, tmp_path / "out")
    job = replace(job, units=job.units[:1])
    reference = replace(job, output_dir=str(tmp_path / "ref/train"), holdout_dir=str(tmp_path / "ref/holdout"))
    write_all(reference)
    (tmp_path / "job.json").write_bytes(msgspec.json.encode(job))
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "job.json"), str(at)], check=False)
    with workplace(job) as place:
        if committed(job, place.directories, job.units[0]):
            assert bytes_of(reference) == bytes_of(job)
        else:
            commit(place, job.units[0])
            assert bytes_of(reference) == bytes_of(job)
    assert not [name for name in visible(job) if name.endswith(".tmp")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    with disks.small_disk(tmp_path / "disk", "2m") as mount:
        yield mount


@pytest.mark.root
def test_a_disk_that_is_really_full(corpus_dir: Path, small_disk: Path, tmp_path: Path) -> None:
    """On a file system without room the unit fails as a full disk and leaves it as it was; with room it is done."""
    job = make_job(corpus_dir, small_disk / "out")
    with workplace(job) as place:
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * (1 << 20))
        before = visible(job)
        with pytest.raises(DiskFullError, match=str(small_disk)):
            for unit in job.units:
                commit(place, unit)
        done = [unit for unit in job.units if committed(job, place.directories, unit)]
        assert len(done) < len(job.units)
        assert {name.partition(".")[0].partition("/")[2] for name in visible(job) - before} == {u.stem for u in done}
        ballast.unlink()
        commit(place, next(unit for unit in job.units if unit not in done))


def test_opening_on_a_full_disk(corpus_dir: Path, small_disk: Path) -> None:
    """Directories that cannot be made for want of space are a full disk too."""
    with suppress(OSError):
        (small_disk / "ballast").write_bytes(b"x" * (4 << 20))
    job = make_job(corpus_dir, small_disk / "out")
    with pytest.raises(DiskFullError, match=str(small_disk)), open_store(job):
        pass


def test_a_reference_that_panics_is_an_error() -> None:
    """A panic of a Rust library, no Exception to Python, becomes an error like others."""

    class PanicException(BaseException):
        pass

    with pytest.raises(TokenizerError, match="gigatoken panicked: overflow"), panics_named("gigatoken"):
        raise PanicException("overflow")
    with pytest.raises(KeyboardInterrupt), panics_named("gigatoken"):
        raise KeyboardInterrupt
