"""Directories of compressed shards: the same tokens as raw ones, for everything that reads them."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from provision.cli import cli
from shard.errors import FingerprintError, JobError, StoreError, VerificationError
from shard.export.options import ExportOptions
from shard.export.run import FORMATS, export
from shard.formats.ranks import EXCEPTION
from shard.formats.seekable import read_seek_table, seek_table, table_size
from shard.records.compression import RANKS_FILE, Compression
from shard.records.frozen import canonical_json, sealed_json
from shard.records.job import Holdout, Job
from shard.records.options import Options
from shard.records.shards import Compressed, ShardRecord, read_shard
from shard.storage.payloadfile import FramedFile
from shard.storage.store import committed, directories_of, discard, open_store
from shard.storage.stored import open_stored
from shard.verify.report import Report
from shard.verify.stores import verify
from tests.support import disks
from tests.support.jobs import compressed_job, make_job, rank_spec, write_corpus, write_job
from tests.support.supervisors import supervising
from tests.support.worker import write_all

FRAME = 4096


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """Five files, of which the first has no document."""
    return write_corpus(tmp_path_factory.mktemp("corpus") / "c", [None] * 20 + documents[:80], files=5, group_rows=10)


@pytest.fixture(scope="module")
def raw(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = make_job(corpus, tmp_path_factory.mktemp("raw"), holdout=Holdout(rate=0.3))
    write_all(job)
    return job


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the rank table is put."""
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def written(corpus: Path, ranks: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = compressed_job(
        corpus, tmp_path_factory.mktemp("compressed"), ranks, frame_tokens=FRAME, holdout=Holdout(rate=0.3)
    )
    write_all(job, ranks)
    return job


@pytest.fixture
def job(written: Job, tmp_path: Path) -> Job:
    """A copy, free to be damaged."""
    shutil.copytree(written.output_dir, tmp_path / "train")
    shutil.copytree(written.holdout_dir, tmp_path / "holdout")
    return replace(written, output_dir=str(tmp_path / "train"), holdout_dir=str(tmp_path / "holdout"))


def check(job: Job) -> Report:
    return verify([*directories_of(job).values()])


def findings(job: Job) -> set[str]:
    """Files with errors."""
    return {Path(finding.file).name for finding in check(job).findings if finding.severity == "error"}


def records(job: Job) -> dict[str, ShardRecord]:
    return {
        f"{split}/{unit.stem}": read_shard(directory, unit.stem)
        for split, directory in directories_of(job).items()
        for unit in job.units
    }


# As raw ones


def test_the_same_tokens_in_less_space(raw: Job, written: Job) -> None:
    """Records prove that a compressed run has the tokens of a raw one; only the file that holds them is another."""
    ours, theirs = records(written), records(raw)
    assert raw.fingerprint != written.fingerprint
    for name, record in ours.items():
        other = theirs[name]
        assert (record.payload_sha256, record.payload_bytes) == (other.payload_sha256, other.payload_bytes)
        assert record.index_sha256 == other.index_sha256
        assert record.compressed is not None
        assert other.compressed is None
    sizes = [sum(record.stored_bytes for record in found.values()) for found in (ours, theirs)]
    assert sizes[0] < 0.5 * sizes[1]
    for directory in directories_of(written).values():
        assert not [*directory.glob("*.bin")]
        assert (directory / RANKS_FILE).is_file()


def test_it_verifies(written: Job) -> None:
    """A directory as written is proven whole."""
    report = check(written)
    assert report.findings == []
    assert report.coverage.complete


def test_raw_runs_keep_their_fingerprint(raw: Job) -> None:
    """What is not compressed says nothing of compression, in its identity and its records."""
    assert b"compress" not in canonical_json(raw.identity)
    assert b"compress" not in sealed_json(records(raw)["train/000001"])


def test_blocks_and_readers_agree(raw: Job, written: Job) -> None:
    """Streamed or at random, documents are those of the raw shards."""
    for ours, theirs in zip(
        open_stored(Path(written.output_dir)).shards, open_stored(Path(raw.output_dir)).shards, strict=True
    ):
        whole = [block.tokens for block in theirs.blocks()]
        tokens = np.concatenate([np.empty(0, "<u2"), *whole])
        assert np.array_equal(np.concatenate([np.empty(0, "<u2"), *(b.tokens for b in ours.blocks())]), tokens)
        with ours.reader() as mine, theirs.reader() as other:
            for start in range(0, len(tokens), 3001):
                stop = min(len(tokens), start + 5000)
                assert np.array_equal(mine.read_tokens(start, stop), other.read_tokens(start, stop))


@pytest.mark.parametrize("name", FORMATS)
def test_exports_are_equal(name: str, raw: Job, written: Job, tmp_path: Path) -> None:
    """Whatever the format, an export of compressed shards is that of raw ones."""
    options = ExportOptions(
        context_length=64 if name == "parquet-packed" else None,
        shard_tokens=4000 if name == "llmc" else None,
        local_ranks=2 if name == "catid" else None,
    )
    made = []
    for job, out in ((raw, tmp_path / "raw"), (written, tmp_path / "compressed")):
        export([*directories_of(job).values()], name, out, options)
        made.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()})
        del made[-1][Path("export.json")]
    assert made[0] == made[1]


def test_inspect_and_cat(raw: Job, written: Job) -> None:
    """Both commands take a compressed directory, and show what it takes on the disk."""

    def said(*arguments: str) -> str:
        return CliRunner().invoke(cli, [*arguments], catch_exceptions=False).stdout

    for number in ("0", "17", "40"):
        both = [said("cat", job.output_dir, "--document", number) for job in (raw, written)]
        assert both[0] == both[1] != ""
    ours, theirs = (json.loads(said("inspect", job.output_dir, "--json")) for job in (written, raw))
    assert ours["tokens"] == theirs["tokens"]
    assert ours["bytes"] == theirs["bytes"]
    assert ours["disk_bytes"] < 0.6 * theirs["disk_bytes"]
    assert ours["compression"]["frame_tokens"] == FRAME
    assert theirs["compression"] is None


def test_wide_vocabularies(tmp_path: Path, cl100k_directory: Path, documents: list[str]) -> None:
    """A vocabulary over 65,535 has ids without a rank; they come back all the same, in four bytes a token."""
    directory = tmp_path / "tokenizer"
    shutil.copytree(cl100k_directory, directory)
    (directory / RANKS_FILE).write_bytes(b"")  # every id at its place: the larger ones have no rank
    compression = Compression(frame_tokens=FRAME, ranks_sha256=hashlib.sha256(b"").hexdigest())
    corpus = write_corpus(tmp_path / "c", documents[:20], files=1)
    wishes: dict[str, Any] = {"tokenizer": rank_spec("cl100k_base"), "holdout": Holdout(rate=0.0)}
    job = make_job(corpus, tmp_path / "z", compression=compression, **wishes)
    found = write_all(job, directory)[0]["train"]
    raw = write_all(make_job(corpus, tmp_path / "r", **wishes), directory)[0]["train"]
    assert found.payload_sha256 == raw.payload_sha256
    tokens = np.fromfile(tmp_path / "r/train/000000.bin", dtype="<u4")
    assert (tokens >= EXCEPTION).sum() > 100
    (shard,) = open_stored(tmp_path / "z/train").shards
    assert np.array_equal(np.concatenate([block.tokens for block in shard.blocks()]), tokens)
    assert findings(job) == set()


# Runs


def test_a_supervisor_writes_the_same(written: Job, ranks: Path, tmp_path: Path) -> None:
    """Ranks that compress in threads write what one process wrote; started again, they keep it."""
    job = replace(written, output_dir=str(tmp_path / "t"), holdout_dir=str(tmp_path / "h"), ranks=1)
    for _ in range(2):
        with supervising(write_job(job, tmp_path, ranks)) as supervisor:
            done = supervisor.end()
            assert done is not None
            assert done.outcome == "complete", done.reason
    for ours, theirs in zip(directories_of(job).values(), directories_of(written).values(), strict=True):
        for path in theirs.glob("0*.[zi]*"):
            assert (ours / path.name).read_bytes() == path.read_bytes()
    assert findings(job) == set()


@pytest.mark.parametrize("harm", ["gone", "other"])
def test_a_host_without_its_rank_table_does_nothing(harm: str, written: Job, ranks: Path, tmp_path: Path) -> None:
    """A table that did not come, or another, ends the host with a word on it before a shard is written."""
    job = replace(written, output_dir=str(tmp_path / "t"), holdout_dir=str(tmp_path / "h"))
    table = write_job(job, tmp_path, ranks) / RANKS_FILE
    if harm == "gone":
        table.unlink()
    else:
        table.write_bytes(b"\1\0\0\0")
    with supervising(table.parent) as supervisor:
        done = supervisor.end()
    assert done is not None
    assert done.outcome == "failed"
    assert str(table) in done.reason
    assert not [*(tmp_path / "t").glob("0*")]


def test_a_full_disk_leaves_nothing_half(written: Job, ranks: Path, tmp_path: Path) -> None:
    """Without space for a frame or a table the host stops, names the place, and resumes when there is some."""
    with disks.small_disk(tmp_path / "disk", "64k") as disk:
        job = replace(written, output_dir=str(disk / "t"), holdout_dir=str(disk / "h"))
        directory = write_job(job, tmp_path, ranks)
        with supervising(directory) as supervisor:
            done = supervisor.end()
        assert done is not None
        assert (done.outcome, done.quarantined) == ("failed", [])
        assert f"{disk}/" in done.reason
        assert "free space" in done.reason
        assert not [*disk.rglob(".0*.tmp")]
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        with supervising(directory) as supervisor:
            done = supervisor.end()
        assert done is not None
        assert done.outcome == "complete"
        assert findings(job) == set()


def test_raw_and_compressed_never_mix(raw: Job, written: Job, job: Job, corpus: Path) -> None:
    """A directory of the other kind is refused, and the difference named; --overwrite replaces it whole."""
    into = {"output_dir": job.output_dir, "holdout_dir": job.holdout_dir}
    with pytest.raises(FingerprintError, match="compression: None, not"), open_store(replace(raw, **into)):
        pass
    with open_store(replace(raw, **into, overwrite=True)) as directories:
        assert {path.name for path in directories["train"].iterdir()} == {"dataset.json", ".shardfleet.lock"}


def test_what_counts_as_committed(job: Job) -> None:
    """A unit whose file is of another size is done again; discarding it leaves nothing."""
    directories = directories_of(job)
    unit = job.units[2]
    assert committed(job, directories, unit) is not None
    path = directories["holdout"] / f"{unit.stem}.zst"
    path.write_bytes(path.read_bytes()[:-1])
    assert committed(job, directories, unit) is None
    discard(directories, [unit.ordinal])
    assert not [*directories["train"].glob(f"{unit.stem}.*")]


def test_no_trainer_maps_what_is_compressed(written: Job) -> None:
    """--for and --compress together are refused, with what to do instead."""
    with pytest.raises(JobError, match=r"--for nanogpt with --compress: .*shardfleet export"):
        replace(written, options=Options(trainers=("nanogpt",)))


def test_a_job_has_its_table(written: Job) -> None:
    """A job that is to compress by a table yet to be made is none."""
    assert written.identity.compression is not None
    unranked = replace(written.identity.compression, ranks_sha256="")
    with pytest.raises(JobError, match="without a rank table"):
        replace(written, identity=replace(written.identity, compression=unranked))


# Damage


def _swap(directory: Path) -> None:
    one, two = (directory / f"00000{n}.zst" for n in (2, 3))
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)


def _flip(directory: Path) -> None:
    path = directory / "000002.zst"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(data)


def _cut(directory: Path) -> None:
    path = directory / "000002.zst"
    path.write_bytes(path.read_bytes()[:-100])


def _gone(directory: Path) -> None:
    (directory / "000002.zst").unlink()


def _lie(directory: Path) -> None:
    """The seek table moves the end of the first frame, and the record agrees with the file."""
    path = directory / "000002.zst"
    data = path.read_bytes()
    frames = -(-read_shard(directory, "000002").tokens // FRAME)
    table = read_seek_table(data[-table_size(frames) :])
    assert table is not None
    assert frames > 2
    table[0, 0] -= 4
    table[1, 0] += 4
    lying = data[: -table_size(frames)] + seek_table([(int(a), int(b)) for a, b in table])
    path.write_bytes(lying)
    said = Compressed(bytes=len(lying), sha256=hashlib.sha256(lying).hexdigest())
    record = replace(read_shard(directory, "000002"), compressed=said)
    (directory / "000002.json").write_bytes(sealed_json(record))


@pytest.mark.parametrize(
    ("harm", "files"),
    [
        (_swap, {"000002.zst", "000003.zst"}),
        (_flip, {"000002.zst"}),
        (_cut, {"000002.zst"}),
        (_gone, {"000002.zst"}),
        (_lie, {"000002.zst"}),
    ],
)
def test_damage_is_named(harm: Callable[[Path], None], files: set[str], job: Job, tmp_path: Path) -> None:
    """verify names the files, export the first of them; neither changes anything."""
    directory = Path(job.output_dir)
    harm(directory)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert findings(job) == files
    with pytest.raises(VerificationError, match=min(files)):
        export([directory], "nanogpt", tmp_path / "out", ExportOptions())
    assert not (tmp_path / "out").exists()
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


@pytest.mark.parametrize("harm", ["gone", "flipped", "another"])
def test_a_wrong_rank_table_is_named(harm: str, job: Job, tmp_path: Path) -> None:
    """Tokens are never decoded by another table than their own: it is what is wrong, not the shards."""
    table = Path(job.output_dir) / RANKS_FILE
    data = bytearray(table.read_bytes())
    table.unlink()
    if harm == "flipped":
        data[0] ^= 1
        table.write_bytes(data)
    elif harm == "another":
        table.write_bytes(data[4:])
    assert findings(job) == {RANKS_FILE}
    with pytest.raises(VerificationError, match=f"^{table}: "):
        open_stored(Path(job.output_dir))


def test_other_tokens_under_a_right_hash(job: Job) -> None:
    """A file that agrees with its record in bytes, but not in tokens, is found by its tokens."""
    directory = Path(job.output_dir)
    shard = open_stored(directory).shards[2]
    assert shard.codec is not None
    tokens = np.concatenate([block.tokens for block in shard.blocks()])
    assert tokens[10] < 255
    tokens[10] += 1  # text all the same
    file = FramedFile(shard.payload, shard.codec, None)
    file.write(tokens)
    (directory / "000002.json").write_bytes(sealed_json(replace(shard.record, compressed=file.finish())))
    (error,) = check(job).findings
    assert error.file == str(shard.payload)
    assert error.problem.startswith("its tokens have sha256")


def test_a_record_that_denies_compression(job: Job) -> None:
    """A record without what its directory says is an error, for verify and for every reader."""
    directory = Path(job.output_dir)
    record = read_shard(directory, "000002")
    (directory / "000002.json").write_bytes(sealed_json(replace(record, compressed=None)))
    assert "000002.json" in findings(job)
    with pytest.raises(VerificationError, match=r"000002\.json"):
        open_stored(directory)


def test_a_table_that_the_launcher_cannot_send(job: Job, tmp_path: Path) -> None:
    """Opening for a start without the table leaves the directory as it is."""
    before = (Path(job.output_dir) / RANKS_FILE).read_bytes()
    with pytest.raises(StoreError, match=RANKS_FILE):
        write_all(job, tmp_path / "nowhere")
    assert (Path(job.output_dir) / RANKS_FILE).read_bytes() == before
