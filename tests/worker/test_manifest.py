"""shard/records/manifest.py and shard/host/commits.py: what a host tells of its commits, and what all hosts get."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shard.errors import DirectoryInUseError, FingerprintError, JobError
from shard.host.claim import claimed
from shard.host.commits import Commits, commits_of, discard_units
from shard.records.frozen import sealed_json
from shard.records.job import Holdout, Job
from shard.records.manifest import (
    MANIFEST_FILE,
    HostShare,
    Manifest,
    Proof,
    encode_manifest,
    equal_samples,
    ranks_with_data,
    read_manifest,
)
from shard.records.shards import directory_record, read_shard
from shard.verify.stores import verify
from tests.support.jobs import make_job, write_corpus, write_job
from tests.support.worker import write_all


def share(name: str, ranks: int, tokens: int, store: str | None = None) -> HostShare:
    return HostShare(
        name=name,
        ranks=ranks,
        first_rank=0,
        output_dir="~/a",
        holdout_dir="~/b",
        store=store or name,
        known="records",
        units=(),
        documents=0,
        tokens=tokens,
        holdout_documents=0,
        holdout_tokens=0,
    )


def manifest(job: Job, *hosts: HostShare, **fields: Any) -> Manifest:
    common = directory_record(job, "train")
    world_size, tokens_per_rank = ranks_with_data(hosts)
    proof = Proof(
        units=0,
        proven=0,
        rows=0,
        documents=0,
        holdout_documents=0,
        dropped=0,
        complete=False,
        missing=(),
        twice=(),
        shards_sha256=None,
    )
    given: dict[str, Any] = {"format": "shardfleet", "version": 1, "fingerprint": job.fingerprint, **fields}
    return Manifest(
        run_id=job.run_id,
        dtype=common.dtype,
        tokenizer=common.tokenizer,
        source=common.source,
        holdout=common.holdout,
        documents=0,
        tokens=sum(host.tokens for host in hosts),
        holdout_documents=0,
        holdout_tokens=0,
        world_size=world_size,
        tokens_per_rank=tokens_per_rank,
        hosts=hosts,
        proof=proof,
        **given,
    )


@dataclass(frozen=True)
class Store:
    """A host's job and its two directories."""

    job: Job
    job_directory: Path

    @property
    def train(self) -> Path:
        return Path(self.job.output_dir)

    @property
    def holdout(self) -> Path:
        return Path(self.job.holdout_dir)

    @property
    def units(self) -> list[int]:
        return [commit.counts.unit for commit in commits_of(self.job).units]


@pytest.fixture
def store(tmp_path: Path, documents: list[str]) -> Store:
    """Three committed units of a job."""
    corpus = write_corpus(tmp_path / "corpus", [*documents[:30], None], files=3)
    job = make_job(corpus, tmp_path, holdout=Holdout(rate=0.3))
    write_all(job, tmp_path)
    return Store(job, write_job(job, tmp_path / "base"))


def with_other_options(job: Job, **fields: Any) -> Job:
    """A job over the same units whose shards are others."""
    identity = msgspec.structs.replace(job.identity, holdout_seed=7)
    holdout = Holdout(rate=job.holdout.rate, seed=7)
    return msgspec.structs.replace(job, identity=identity, holdout=holdout, **fields)


@pytest.fixture
def job(corpus_dir: Path, tmp_path: Path) -> Job:
    return make_job(corpus_dir, tmp_path)


@pytest.mark.parametrize(
    ("hosts", "context_length", "expected"),
    [
        ([share("a", 2, 2001)], 100, 10),  # 20 samples over two ranks
        ([share("a", 2, 2000)], 100, 9),  # the last window lacks its label
        ([share("a", 2, 2001), share("b", 1, 501)], 100, 5),  # the poorest decides
        ([share("a", 2, 2001), share("b", 4, 0)], 100, 10),  # a host without data takes no part
        ([share("a", 1, 700), share("b", 1, 301, store="a")], 100, 5),  # one directory for both
        ([share("a", 2, 150)], 100, 0),  # one sample, two ranks
        ([share("a", 8, 0)], 100, 0),
        ([], 100, 0),
    ],
)
def test_equal_samples(job: Job, hosts: list[HostShare], context_length: int, expected: int) -> None:
    """Every rank gets what the poorest host can give each of its ranks; what is left over is dropped."""
    assert equal_samples(manifest(job, *hosts), context_length) == expected


def test_equal_samples_are_whole_steps(job: Job) -> None:
    """With a global batch, every rank takes the same whole number of steps."""
    cluster = manifest(job, share("a", 2, 2101), share("b", 2, 1901))
    assert equal_samples(cluster, 100) == 9
    assert equal_samples(cluster, 100, global_batch_size=16) == 8
    assert equal_samples(cluster, 100, global_batch_size=400) == 0


def test_impossible_sizes_are_refused(job: Job) -> None:
    """Sizes that give no equal parts are named."""
    cluster = manifest(job, share("a", 2, 2101), share("b", 2, 1901))
    with pytest.raises(ValueError, match="context_length 0"):
        equal_samples(cluster, 0)
    for size in (0, -4, 6):
        with pytest.raises(ValueError, match=f"global_batch_size {size}: not a multiple of the 4 ranks"):
            equal_samples(cluster, 100, global_batch_size=size)


def test_tokens_per_rank_are_of_the_poorest(job: Job) -> None:
    """Hosts without data count for nothing, those that share a directory as one."""
    assert ranks_with_data([share("a", 2, 101), share("b", 4, 120), share("c", 9, 0)]) == (6, 30)
    assert ranks_with_data([share("a", 1, 10), share("b", 1, 90, store="a")]) == (2, 50)
    assert ranks_with_data([]) == (0, 0)


def test_a_damaged_manifest_is_found(store: Store) -> None:
    """Verification reads the manifest beside the shards as well."""
    (store.train / MANIFEST_FILE).write_bytes(encode_manifest(manifest(store.job)))
    assert verify([store.train, store.holdout]).coverage.complete
    (store.train / MANIFEST_FILE).write_bytes(encode_manifest(manifest(store.job)).replace(b'"units":0', b'"units":1'))
    (finding,) = verify([store.train, store.holdout]).findings
    assert (finding.file, finding.severity) == (str(store.train / MANIFEST_FILE), "error")


def test_other_manifests_are_refused(store: Store) -> None:
    """A file of another version, or none at all, is an error that names the file."""
    with pytest.raises(JobError, match=MANIFEST_FILE):
        read_manifest(store.train)
    data = msgspec.json.decode(encode_manifest(manifest(store.job)))
    del data["seal"]
    (store.train / MANIFEST_FILE).write_bytes(sealed_json({**data, "version": 9}))
    with pytest.raises(JobError, match="version 9"):
        read_manifest(store.train)


def test_records_are_told_with_counts_and_hashes(store: Store) -> None:
    """Every committed unit with the figures and hashes of both records, and the places of both directories."""
    told = commits_of(store.job)
    assert [commit.counts.unit for commit in told.units] == [0, 1, 2]
    for commit in told.units:
        train, holdout = (
            read_shard(directory, f"{commit.counts.unit:06d}") for directory in (store.train, store.holdout)
        )
        assert (commit.payload_sha256, commit.index_sha256) == (train.payload_sha256, train.index_sha256)
        assert (commit.holdout_payload_sha256, commit.holdout_index_sha256) == (
            holdout.payload_sha256,
            holdout.index_sha256,
        )
        counts = commit.counts
        assert (counts.documents, counts.tokens) == (train.documents, train.tokens)
        assert (counts.holdout_documents, counts.holdout_tokens) == (holdout.documents, holdout.tokens)
        assert (counts.row_start, counts.row_end) == (train.source.row_start, train.source.row_end)
        assert counts.row_end - counts.row_start == train.documents + holdout.documents + counts.dropped
        assert commit.host == store.job.host
    assert told.place and told.holdout_place and told.place != told.holdout_place
    assert sum(commit.counts.dropped for commit in told.units) == 1


def test_records_of_units_that_are_no_longer_of_the_job_are_told(store: Store) -> None:
    """What an earlier start committed counts, whoever's share the unit is by now."""
    job = msgspec.structs.replace(store.job, units=store.job.units[:1])
    assert [commit.counts.unit for commit in commits_of(job).units] == [0, 1, 2]


def test_only_whole_commits_are_told(store: Store) -> None:
    """A unit with a file missing, of the wrong size, or with a record of another fingerprint is not committed."""
    (store.train / "000000.bin").write_bytes(b"")
    (store.holdout / "000001.json").unlink()
    record = read_shard(store.train, "000002")
    (store.train / "000002.json").write_bytes(sealed_json(msgspec.structs.replace(record, fingerprint="0" * 64)))
    (store.train / "notes.json").write_text("{}")
    assert store.units == []


def test_directory_of_another_fingerprint_holds_nothing(store: Store) -> None:
    """Shards of other options are not this run's; neither is a directory that was never made."""
    assert commits_of(with_other_options(store.job)) == Commits(place="", holdout_place="", units=[])
    nowhere = msgspec.structs.replace(store.job, output_dir=str(store.train / "none"))
    assert commits_of(nowhere) == Commits(place="", holdout_place=commits_of(store.job).holdout_place, units=[])


def test_records_are_told_without_the_parquet_reader(store: Store) -> None:
    """`python -m shard records` prints one JSON object, and loads nothing that reads Parquet or encodes text."""
    code = (
        "import sys; sys.argv = ['shard', 'records', *sys.argv[1:]]\n"
        "from shard.cli import cli\n"
        "cli(standalone_mode=False)\n"
        "sys.exit(any(name in sys.modules for name in ('pyarrow', 'awkward', 'gigatoken')))"
    )
    planned = "--job", store.job_directory, "--output-dir", store.job.output_dir, "--holdout-dir", store.job.holdout_dir
    done = subprocess.run([sys.executable, "-c", code, *planned], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert msgspec.json.decode(done.stdout, type=Commits) == commits_of(store.job)


def test_discard_removes_the_named_units(store: Store) -> None:
    """All files of those units go, from both directories; the others stay and are whole."""
    before = {path.name for path in store.train.iterdir()}
    assert discard_units(store.job_directory, b"[0, 2]") == [0, 2]
    assert store.units == [1]
    gone = {f"{stem}.{suffix}" for stem in ("000000", "000002") for suffix in ("bin", "idx", "json")}
    assert {path.name for path in store.train.iterdir()} == before - gone
    assert discard_units(store.job_directory, b"[0, 2]") == [0, 2]


def test_discard_is_refused_while_a_supervisor_is_at_work(store: Store) -> None:
    """At once, and nothing is removed."""
    with claimed(store.job_directory, store.job), pytest.raises(DirectoryInUseError, match="at work"):
        discard_units(store.job_directory, b"[0]")
    assert store.units == [0, 1, 2]


def test_discard_keeps_off_directories_of_others(store: Store) -> None:
    """Shards of another fingerprint are not removed, even by a job that may overwrite them."""
    other = with_other_options(store.job, overwrite=True)
    (store.job_directory / "job.json").write_bytes(msgspec.json.encode(other))
    with pytest.raises(FingerprintError):
        discard_units(store.job_directory, b"[0]")
    assert store.units == [0, 1, 2]


@pytest.mark.parametrize("request_", [b"", b"{}", b"[-1]", b'["../../x"]', b"[1.5]", b"[0"])
def test_other_requests_to_discard_are_refused(store: Store, request_: bytes) -> None:
    """What is no list of ordinals removes nothing."""
    with pytest.raises(JobError, match="not a list of units"):
        discard_units(store.job_directory, request_)
    assert store.units == [0, 1, 2]


def test_verify_minds_no_manifest(store: Store) -> None:
    """The file beside the shards is readable as what it was, and no finding of a verification."""
    cluster = manifest(store.job, share("a", 1, 10))
    for directory in (store.train, store.holdout):
        (directory / MANIFEST_FILE).write_bytes(encode_manifest(cluster))
    assert read_manifest(store.train) == cluster
    report = verify([store.train, store.holdout])
    assert report.findings == [] and report.coverage.complete
    assert store.units == [0, 1, 2]
