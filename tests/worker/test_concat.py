"""shard/concat.py: directories joined are what one run over all their files would have made."""

import gzip
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from shard.concat import concatenate
from shard.dedup.sources import source_of
from shard.errors import JobError, StoreError, VerificationError
from shard.formats.payload import Payload
from shard.records.job import Holdout, Job
from shard.records.shards import read_directory, read_shard
from shard.storage.stored import open_stored
from shard.verify.stores import verify
from tests.support.jobs import (
    BYTES_SPEC,
    QUICK,
    compressed_job,
    files_dataset,
    files_units,
    make_job,
    write_corpus,
)
from tests.support.plans import tree_of
from tests.support.worker import write_all


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """Two datasets with files of the same names, `one` and `two`, and `both` with the files of either."""
    root = tmp_path_factory.mktemp("corpora")
    write_corpus(root / "one", [None, *documents[:30]], files=3)
    write_corpus(root / "two", documents[30:50], files=2)
    (root / "both").mkdir()
    for number, name in enumerate(("one", "two")):
        for file in (root / name).iterdir():
            shutil.copy(file, root / "both" / f"{number}-{file.name}")
    return root


def made(corpora: Path, name: str, root: Path, **options: object) -> Job:
    job = make_job(corpora / name, root / name, **{"holdout": Holdout(rate=0.3), **options})  # type: ignore[arg-type]
    write_all(job)
    return job


@pytest.fixture(scope="module")
def stores(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`one`, `two` and `both` as shards, each with `train` and `holdout`."""
    root = tmp_path_factory.mktemp("stores")
    for name in ("one", "two", "both"):
        made(corpora, name, root)
    return root


def shards(directory: Path, suffix: str) -> dict[str, bytes]:
    return {name: data for name, data in tree_of(directory).items() if name.endswith(suffix)}


def pairs(stores: Path) -> list[Path]:
    return [stores / name / split for name in ("one", "two") for split in ("train", "holdout")]


def test_compressed_directories_of_one_table(corpora: Path, tmp_path: Path) -> None:
    """Shards coded by one rank table are joined with it and decode like raw ones; two tables are refused."""
    ranks = tmp_path / "ranks"
    jobs = [compressed_job(corpora / "one", tmp_path / "one", ranks)]
    jobs.append(make_job(corpora / "two", tmp_path / "two", compression=jobs[0].identity.compression))
    for job in jobs:
        write_all(job, ranks)
    joined = concatenate(_both(jobs), tmp_path / "train", tmp_path / "holdout")[0]
    assert verify([tmp_path / "train", tmp_path / "holdout"]).ok
    raw = [make_job(corpora / name, tmp_path / f"raw-{name}") for name in ("one", "two")]
    for job in raw:
        write_all(job)
    whole = b"".join(b"".join(block.tokens.tobytes() for block in _blocks(Path(job.output_dir))) for job in raw)
    assert b"".join(block.tokens.tobytes() for block in _blocks(joined.directory)) == whole
    other = compressed_job(corpora / "two", tmp_path / "other", tmp_path / "other-ranks")
    write_all(other, tmp_path / "other-ranks")
    with pytest.raises(JobError, match="compression"):
        concatenate([Path(jobs[0].output_dir), Path(other.output_dir)], tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_sidecars_are_made_anew(corpora: Path, tmp_path: Path) -> None:
    """What `--for` put beside shards stands beside the joined ones too, under their new numbers."""
    options = replace(QUICK, trainers=("datatrove", "olmo"))
    jobs = [make_job(corpora / name, tmp_path / name, options=options) for name in ("one", "two")]
    for job in jobs:
        write_all(job)
    concatenate(_both(jobs), tmp_path / "train", tmp_path / "holdout")
    assert verify([tmp_path / "train", tmp_path / "holdout"]).ok
    first = read_directory(Path(jobs[0].output_dir)).identity.units
    for shard in open_stored(tmp_path / "train").shards[first:]:
        assert shard.payload.with_suffix(".ds").samefile(shard.payload)
        table = gzip.decompress(shard.payload.with_suffix(".csv.gz").read_bytes()).decode()
        assert all(f",{shard.stem}-" in line for line in table.splitlines())
        assert table


def _both(jobs: list[Job]) -> list[Path]:
    return [Path(directory) for job in jobs for directory in (job.output_dir, job.holdout_dir)]


def _blocks(directory: Path) -> Iterator[Payload]:
    return open_stored(directory).blocks()


def test_bytes_are_those_of_one_run(stores: Path, tmp_path: Path) -> None:
    """Payloads and indexes equal, file for file, those of a run over the files of both; verify proves every row."""
    done = concatenate(pairs(stores), tmp_path / "train", tmp_path / "holdout")
    for split in ("train", "holdout"):
        for suffix in (".bin", ".idx"):
            assert shards(tmp_path / split, suffix) == shards(stores / "both" / split, suffix)
        joined = b"".join(data for _, data in sorted(shards(tmp_path / split, ".bin").items()))
        cat = [data for name in ("one", "two") for _, data in sorted(shards(stores / name / split, ".bin").items())]
        assert joined == b"".join(cat)
    report = verify([tmp_path / "train"])
    assert report.ok and report.coverage.complete, report.findings
    assert report.coverage.units == 5
    both = [open_stored(stores / "both" / split) for split in ("train", "holdout")]
    assert [(one.units, one.documents, one.tokens) for one in done] == [(5, one.documents, one.tokens) for one in both]


def test_payloads_stand_once(stores: Path, tmp_path: Path) -> None:
    """Payload and index are linked; nothing of the sources changes."""
    before = {path: tree_of(path) for path in pairs(stores)}
    (done,) = concatenate([stores / "one" / "train", stores / "two" / "train"], tmp_path / "joined")
    assert done.copied_bytes == 0
    for unit, (name, stem) in enumerate([*(("one", n) for n in range(3)), *(("two", n) for n in range(2))]):
        for suffix in (".bin", ".idx"):
            source = stores / name / "train" / f"{stem:06d}{suffix}"
            assert source.samefile(tmp_path / "joined" / f"{unit:06d}{suffix}")
    assert {path: tree_of(path) for path in pairs(stores)} == before


def test_copied_where_links_do_not_work(stores: Path, tmp_path: Path) -> None:
    """On another file system shards are copied, and the bytes of that said."""
    elsewhere = Path("/dev/shm") / f"shardfleet-{tmp_path.name}-{os.getpid()}"
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("needs /dev/shm on a file system of its own")
    try:
        (done,) = concatenate([stores / "one" / "train", stores / "two" / "train"], elsewhere / "joined")
        files = {**shards(elsewhere / "joined", ".bin"), **shards(elsewhere / "joined", ".idx")}
        assert done.copied_bytes == sum(map(len, files.values()))
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)


def test_records_say_where_from(stores: Path, corpora: Path, tmp_path: Path) -> None:
    """Paths are told apart by their dataset; the directory's fingerprint is its own, and the same every time."""
    for name in ("a", "b"):
        concatenate([stores / "one" / "train", stores / "two" / "train"], tmp_path / name)
    record = read_directory(tmp_path / "a")
    assert record == read_directory(tmp_path / "b")
    assert record.fingerprint == record.identity.fingerprint
    assert record.source.dataset == f"{corpora / 'one'} + {corpora / 'two'}"
    found = read_shard(tmp_path / "a", "000004")
    original = read_shard(stores / "two" / "train", "000001")
    path = f"{corpora / 'two'}/part-1.parquet"
    assert found == replace(
        original, unit=4, fingerprint=record.fingerprint, source=replace(original.source, path=path)
    )
    concatenate([stores / "two" / "train", stores / "one" / "train"], tmp_path / "c")
    assert read_directory(tmp_path / "c").fingerprint != record.fingerprint


def test_a_dataset_within_another(corpora: Path, tmp_path: Path) -> None:
    """Where one dataset lies in a folder of another, paths still say which of them a file was read for."""
    whole = write_corpus(tmp_path / "in", [], files=0)
    shutil.copytree(corpora / "two", whole / "two")
    for name, directory in (("whole", whole), ("part", whole / "two")):
        write_all(make_job(directory, tmp_path / name))
    concatenate([tmp_path / "whole" / "train", tmp_path / "part" / "train"], tmp_path / "joined")
    facts = read_directory(tmp_path / "joined").source
    paths = [read_shard(tmp_path / "joined", f"00000{unit}").source.path for unit in range(4)]
    assert paths[2:] == [f"{whole / 'two'}/part-{number}.parquet" for number in range(2)]
    outer = f"{whole}@{'0' * 12}"
    assert [source_of(path, facts) for path in paths] == [outer, outer, str(whole / "two"), str(whole / "two")]


def test_two_columns_of_one_dataset(tmp_path: Path) -> None:
    """What two runs have made of the same files, a column each, is joined, and every row of either is proven."""
    (tmp_path / "in").mkdir()
    table = pa.table({"text": ["a", "b", "c"], "title": ["d", "e", "f"]})
    pq.write_table(table, tmp_path / "in" / "part-0.parquet", row_group_size=1)
    for column in table.column_names:
        dataset = files_dataset(tmp_path / "in", text_column=column)
        write_all(make_job(dataset, tmp_path / column, units=files_units(tmp_path / "in", parts=2)))
    done = concatenate(
        [tmp_path / column / split for column in table.column_names for split in ("train", "holdout")],
        tmp_path / "joined",
        tmp_path / "joined_holdout",
    )
    assert sum(one.documents for one in done) == 6
    report = verify([tmp_path / "joined", tmp_path / "joined_holdout"])
    assert report.ok and report.coverage.complete, report.findings


def test_shares_of_hosts_fit_each_other(stores: Path, tmp_path: Path) -> None:
    """Units that lie on another host keep their numbers free: two hosts' results have no number in common."""
    for host, kept in (("alpha", {"one": [0, 2], "two": [1]}), ("beta", {"one": [1], "two": [0]})):
        for name, units in kept.items():
            directory = tmp_path / host / name
            directory.mkdir(parents=True)
            for file in ["dataset.json", *(f"{unit:06d}{s}" for unit in units for s in (".bin", ".idx", ".json"))]:
                shutil.copy(stores / name / "train" / file, directory)
        concatenate([tmp_path / host / name for name in ("one", "two")], tmp_path / host / "joined")
    alpha, beta = (shards(tmp_path / host / "joined", ".bin") for host in ("alpha", "beta"))
    assert sorted(alpha) == ["000000.bin", "000002.bin", "000004.bin"] and sorted(beta) == ["000001.bin", "000003.bin"]
    assert {**alpha, **beta} == shards(stores / "both" / "train", ".bin")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tokenizer": replace(BYTES_SPEC, eod_id=None)}, ["eod_id: None, not 256"]),
        ({"tokenizer": replace(BYTES_SPEC, vocab_size=70_000)}, ["vocab_size: 70000, not 257", "dtype: 'uint32'"]),
        ({"holdout": Holdout(rate=0.2, seed=1)}, ["holdout_rate: 0.2, not 0.3", "holdout_seed: 1, not 0"]),
    ],
)
def test_every_difference_is_named(
    options: dict[str, object], said: list[str], stores: Path, corpora: Path, tmp_path: Path
) -> None:
    """Directories of another tokenizer or holdout rule are refused, all that differs in one message."""
    other = made(corpora, "two", tmp_path, **options)
    with pytest.raises(JobError, match="two/train does not fit") as refused:
        concatenate([stores / "one" / "train", Path(other.output_dir)], tmp_path / "joined")
    assert all(line in str(refused.value) for line in said)
    assert "units" not in str(refused.value)
    assert not (tmp_path / "joined").exists()


def test_what_is_refused(stores: Path, tmp_path: Path) -> None:
    """The same dataset twice, splits that are no pairs or have no place, a target that exists."""
    one, one_holdout, two, two_holdout = pairs(stores)
    with pytest.raises(JobError, match="would stand twice"):
        concatenate([one, one], tmp_path / "x")
    with pytest.raises(JobError, match="not those of train, in the same order"):
        concatenate([one, two, two_holdout, one_holdout], tmp_path / "x", tmp_path / "y")
    with pytest.raises(JobError, match="say with --holdout-dir"):
        concatenate([one, one_holdout], tmp_path / "x")
    with pytest.raises(JobError, match="leave it out"):
        concatenate([one, two], tmp_path / "x", tmp_path / "y")
    with pytest.raises(StoreError, match=f"{one}: exists"):
        concatenate([one, two], one)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["000001.bin", "000001.idx"])
def test_damage_is_found(file: str, stores: Path, tmp_path: Path) -> None:
    """A damaged shard is named, and nothing is made."""
    shutil.copytree(stores / "two" / "train", tmp_path / "two")
    data = bytearray((tmp_path / "two" / file).read_bytes())
    data[-3] ^= 1
    (tmp_path / "two" / file).write_bytes(data)
    with pytest.raises(VerificationError, match=file):
        concatenate([stores / "one" / "train", tmp_path / "two"], tmp_path / "joined")
    assert [path.name for path in tmp_path.iterdir()] == ["two"]


def test_joined_again(stores: Path, tmp_path: Path) -> None:
    """What was joined can be joined on, and verifies."""
    one, one_holdout, two, two_holdout = pairs(stores)
    both = [stores / "both" / split for split in ("train", "holdout")]
    concatenate([one, one_holdout, two, two_holdout], tmp_path / "a", tmp_path / "ah")
    concatenate([tmp_path / "a", tmp_path / "ah", *both], tmp_path / "b", tmp_path / "bh")
    assert verify([tmp_path / "b"]).coverage.complete
    assert json.loads((tmp_path / "b" / "000009.json").read_bytes())["unit"] == 9
