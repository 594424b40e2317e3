"""shard/records/job.py and shard/records/shards.py"""

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shard.errors import JobError
from shard.records.frozen import canonical_json, read_record, sealed_json
from shard.records.job import Dataset, Holdout, Job, TokenizerSpec, identity_of
from shard.records.options import Options
from shard.records.shards import ShardRecord, UnitSource, directory_record, matches, read_directory, read_shard
from shard.records.unit import Unit
from tests.support.jobs import BYTES_SPEC, make_job, write_job

UNIT = Unit(ordinal=0, path="a.parquet", size=10, content_id="etag:x")


@pytest.fixture
def job(corpus_dir: Path, tmp_path: Path) -> Job:
    return make_job(corpus_dir, tmp_path, parts=2)


# Reading


def test_a_job_survives_the_disk(job: Job, tmp_path: Path) -> None:
    """What is written is read back, equal in every field."""
    directory = write_job(job, tmp_path)
    assert job == read_record(directory / "job.json", Job)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2; this is version 1"),
        ({"run_id": "../x"}, r"run id '\.\./x'"),
        ({"ranks": 0}, "0 ranks"),
        ({"ranks": "two"}, r"\$\.ranks"),
        ({"units": [{}]}, r"ordinal.*\$\.units\[0\]"),
        ({"surprise": 1}, "surprise"),
        ({"holdout": {"rate": 1.0, "seed": 0}}, r"holdout rate 1\.0"),
        ({"holdout": {"rate": 0.1, "seed": -1}}, "holdout seed -1"),
        ({"holdout": {"rate": 0.1, "seed": "x"}}, r"\$\.holdout\.seed"),
        ({"options": {"attempts": 0}}, "attempts 0"),
        ({"options": {"spans_in_flight": 0}}, "spans_in_flight 0"),
        ({"options": {"stall_seconds": 0}}, "stall_seconds 0"),
        ({"options": {"grace_seconds": -1}}, "grace_seconds -1"),
        ({"options": {"fetch": "carrier pigeon"}}, r"carrier pigeon.*\$\.options\.fetch"),
        ({"tokenizer": None}, r"\$\.tokenizer"),
    ],
)
def test_a_job_that_says_something_impossible(job: Job, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """The error names the file, the field, and what it found."""
    path = tmp_path / "job.json"
    path.write_text(json.dumps(json.loads(msgspec.json.encode(job)) | change))
    with pytest.raises(JobError, match=rf"job\.json: not a Job record: .*{message}"):
        read_record(path, Job)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"version":"\xff"}', b"[" * 100_000])
def test_no_json(content: bytes, tmp_path: Path) -> None:
    """Neither half a file nor garbage gets past the reader, and it says which file."""
    path = tmp_path / "job.json"
    path.write_bytes(content)
    with pytest.raises(JobError, match=r"job\.json"):
        read_record(path, Job)


def test_a_missing_file(tmp_path: Path) -> None:
    """A missing file, or a directory in its place, is an error with its path."""
    with pytest.raises(JobError, match=r"job\.json: No such file"):
        read_record(tmp_path / "job.json", Job)
    with pytest.raises(JobError, match="Is a directory"):
        read_record(tmp_path, Job)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ordinal": -1}, "ordinal -1"),
        ({"path": ""}, "no path"),
        ({"size": -1}, "size -1"),
        ({"part": 1}, "part 1 of 1"),
        ({"part": -1}, "part -1 of 1"),
        ({"parts": 0}, "part 0 of 0"),
    ],
)
def test_impossible_units(change: dict[str, Any], message: str) -> None:
    """A unit is validated when it is made."""
    with pytest.raises(JobError, match=message):
        Unit(**(msgspec.structs.asdict(UNIT) | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 0}, "vocabulary of 0"),
        ({"vocab_size": 2**31 + 1}, "vocabulary of 2147483649"),
        ({"eod_id": 257}, r"end-of-document id 257 is outside the vocabulary of 'bytes' \(0 to 256\)"),
        ({"eod_id": -1}, "end-of-document id -1"),
        ({"bos_id": 257}, r"beginning-of-document id 257 is outside the vocabulary of 'bytes' \(0 to 256\)"),
        ({"sha256": "x"}, "sha256 'x'"),
    ],
)
def test_impossible_tokenizers(change: dict[str, Any], message: str) -> None:
    """So is a tokenizer."""
    with pytest.raises(JobError, match=message):
        TokenizerSpec(**(msgspec.structs.asdict(BYTES_SPEC) | change))


def test_a_unit_stands_once(job: Job) -> None:
    """Two units of one ordinal would write the same shard."""
    with pytest.raises(JobError, match="a unit stands twice"):
        Job(**(msgspec.structs.asdict(job) | {"units": (*job.units, job.units[0])}))


@given(st.integers(0, 10**13), st.integers(1, 1000))
def test_parts_share_all_bytes(size: int, parts: int) -> None:
    """The parts of a file follow each other, cover it, and differ by at most one byte."""
    units = [Unit(ordinal=i, path="a", size=size, content_id="x", part=i, parts=parts) for i in range(parts)]
    assert (0, size) == (units[0].byte_start, units[-1].byte_end)
    assert all(before.byte_end == after.byte_start for before, after in itertools.pairwise(units))
    assert max(unit.bytes for unit in units) - min(unit.bytes for unit in units) <= 1


# Fingerprint


def test_the_fingerprint_follows_the_bytes_alone(job: Job) -> None:
    """Where the dataset lies, how it is called, hosts, ranks and ways of working do not enter the fingerprint."""
    dataset = replace(job.dataset, name="mirror", root="/elsewhere", revision="1" * 40)
    tokenizer = replace(job.tokenizer, name="other name")
    assert job.identity == identity_of(dataset, tokenizer, job.holdout, job.units)


def test_the_fingerprint_sees_every_input(job: Job) -> None:
    """Whatever decides a byte changes the fingerprint, and the difference has a name."""
    variants = {
        "tokenizer_sha256": identity_of(job.dataset, replace(BYTES_SPEC, sha256="1" * 64), job.holdout, job.units),
        "tokenizer_kind": identity_of(job.dataset, replace(BYTES_SPEC, kind="hf"), job.holdout, job.units),
        "vocab_size": identity_of(job.dataset, replace(BYTES_SPEC, vocab_size=300), job.holdout, job.units),
        "eod_id": identity_of(job.dataset, replace(BYTES_SPEC, eod_id=None), job.holdout, job.units),
        "bos_id": identity_of(job.dataset, replace(BYTES_SPEC, bos_id=1), job.holdout, job.units),
        "text_column": identity_of(replace(job.dataset, text_column="body"), BYTES_SPEC, job.holdout, job.units),
        "holdout_rate": identity_of(job.dataset, BYTES_SPEC, replace(job.holdout, rate=0.2), job.units),
        "holdout_seed": identity_of(job.dataset, BYTES_SPEC, replace(job.holdout, seed=1), job.units),
        "units": identity_of(job.dataset, BYTES_SPEC, job.holdout, job.units[1:]),
        "units_sha256": identity_of(
            job.dataset, BYTES_SPEC, job.holdout, [replace(job.units[0], content_id="etag:y"), *job.units[1:]]
        ),
    }
    fingerprints = {identity.fingerprint for identity in variants.values()} | {job.fingerprint}
    assert len(fingerprints) == len(variants) + 1
    for field, identity in variants.items():
        assert any(line.startswith(f"{field}: ") for line in job.identity.differing(identity))
    assert job.identity.differing(job.identity) == []


def test_a_fingerprint_of_the_first_version_stays() -> None:
    """What fields have come since, the fingerprint of a job that uses none of them is the one it always had."""
    unit = Unit(ordinal=0, path="a.parquet", size=1000, content_id="sha256:" + "0" * 64)
    dataset = Dataset(kind="files", name="a", root="/a", revision="0" * 40, text_column="text")
    identity = identity_of(dataset, BYTES_SPEC, Holdout(), [unit])
    assert identity.fingerprint == "d1ed7f0cdc23e78b319f8e2c72428b8f9fd1db12620ce55d397c503e4594b84e"


def test_canonical_json_has_one_spelling() -> None:
    """Keys are sorted and nothing is spaced, so equal values have equal bytes."""
    assert canonical_json({"b": [1, None], "a": "é"}) == '{"a":"é","b":[1,null]}'.encode()


# Records


def shard_record(job: Job, unit: Unit) -> ShardRecord:
    source = UnitSource(path=unit.path, row_start=0, row_end=3, content_id=unit.content_id, file_rows=3)
    return ShardRecord(
        version=1,
        unit=unit.ordinal,
        split="train",
        fingerprint=job.fingerprint,
        source=source,
        documents=2,
        tokens=7,
        payload_bytes=14,
        payload_sha256="0" * 64,
        index_sha256="1" * 64,
        dropped={"null": 1},
        host="h",
        rank=0,
        seconds=0.5,
    )


def test_records_survive_the_disk(job: Job, tmp_path: Path) -> None:
    """A shard's record and a directory's record are read back equal."""
    record, facts = shard_record(job, job.units[0]), directory_record(job, "holdout")
    (tmp_path / "000000.json").write_bytes(sealed_json(record))
    (tmp_path / "dataset.json").write_bytes(sealed_json(facts))
    assert (record, facts) == (read_shard(tmp_path, "000000"), read_directory(tmp_path))
    assert facts.identity.fingerprint == facts.fingerprint == job.fingerprint


def test_a_record_commits_one_unit_of_one_fingerprint(job: Job) -> None:
    """A record of another unit, file, content or fingerprint commits nothing."""
    unit = job.units[0]
    record = shard_record(job, unit)
    assert matches(record, unit, job.fingerprint)
    assert not matches(record, unit, "0" * 64)
    for other in ({"ordinal": 9}, {"path": "b"}, {"content_id": "etag:y"}):
        assert not matches(record, replace(unit, **other), job.fingerprint)


def test_defaults_are_valid() -> None:
    """Options and holdout need nothing said."""
    assert (Options().fetch, Holdout().rate) == ("stream", 0.001)
