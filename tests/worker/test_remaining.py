"""A host's ranks write what is left of its shards: shard/dedup/remaining.py under its supervisor."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from shard.dedup.appended import Holding, identity_after, units_after
from shard.dedup.lists import pack_lists, removed_sha256
from shard.dedup.run import deduplicate, open_pair
from shard.errors import JobError
from shard.records.dedup import Settings
from shard.records.identity import without_some
from shard.records.job import Holdout, Job
from shard.records.progress import HostDone, UnitFailed
from shard.records.removal import Removal
from shard.records.shards import SPLITS, read_directory, read_shard
from shard.storage.store import Directories
from shard.tokenizer.raw_bytes import ByteReference
from shard.verify.stores import verify
from tests.support.copies import planted
from tests.support.jobs import appending, compressed_job, make_job, write_corpus, write_job
from tests.support.plans import tree_of
from tests.support.supervisors import supervising
from tests.support.text import real_documents
from tests.support.worker import write_all

SETTINGS = Settings()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    documents = planted(real_documents(120), 20).documents
    return write_corpus(tmp_path_factory.mktemp("corpus"), documents, files=3)


class Task:
    """Directories that have duplicates, and the job that writes them anew."""

    def __init__(self, before: Job, root: Path, lists: dict[str, np.ndarray]) -> None:
        self.lists = lists
        self.base = root / "jobs"
        digest = removed_sha256(lists.values())
        removal = Removal(
            output_dir=before.output_dir,
            holdout_dir=before.holdout_dir,
            fingerprint=before.fingerprint,
            lists_sha256=digest,
        )
        self.job = replace(
            before,
            identity=without_some(before.identity, SETTINGS, digest),
            earlier=(),
            removal=removal,
            output_dir=str(root / "once"),
            holdout_dir=str(root / "once_holdout"),
        )

    def run(self, *more: Path) -> tuple[HostDone, list[UnitFailed]]:
        directory = write_job(self.job, self.base)
        assert self.job.removal is not None
        pack_lists(self.lists, directory / self.job.removal.lists_file)
        for path in more:
            shutil.copy(path, directory)
        return self.go()

    def go(self) -> tuple[HostDone, list[UnitFailed]]:
        with supervising(write_job(self.job, self.base)) as supervisor:
            done = supervisor.end()
        assert done is not None
        return done, supervisor.of(UnitFailed)

    @property
    def made(self) -> list[Path]:
        return [Path(self.job.output_dir), Path(self.job.holdout_dir)]


def lists_of(root: Path) -> dict[str, np.ndarray]:
    """Removal lists by shard, and beside them in `expected` what one machine makes."""
    pair = open_pair([root / "train", root / "holdout"])
    found = deduplicate(pair, ByteReference(), SETTINGS, root / "work")
    finals: Directories = {"train": root / "expected", "holdout": root / "expected_holdout"}
    found.write(finals, 1)
    return {f"{stem}.{split}": positions for (split, stem), positions in found.removed().items()}


@pytest.fixture
def task(corpus: Path, tmp_path: Path) -> Task:
    before = make_job(corpus, tmp_path, holdout=Holdout(rate=0.2), ranks=2)
    write_all(before)
    return Task(before, tmp_path, lists_of(tmp_path))


def same(made: Path, expected: Path) -> bool:
    """Whether payloads, indexes and dataset.json are equal; records name host, rank and seconds."""
    suffixes = (".bin", ".zst", ".idx", "dataset.json", "ranks.bin")
    first, second = (
        {name: data for name, data in tree_of(directory).items() if name.endswith(suffixes)}
        for directory in (made, expected)
    )
    return first == second and len(first) > 3


def test_as_one_process_writes_them(task: Task, tmp_path: Path) -> None:
    """Ranks write the very shards that dedup on one machine writes; what is removed counts as dropped, and again is not
    written again."""
    done, failed = task.run()
    assert done.outcome == "complete" and not failed
    assert same(tmp_path / "once", tmp_path / "expected")
    assert same(tmp_path / "once_holdout", tmp_path / "expected_holdout")
    report = verify(task.made)
    assert report.ok and report.coverage.complete and report.coverage.dropped >= 20
    record = read_shard(tmp_path / "once", "000001")
    assert record.dropped["duplicate"] == sum(len(task.lists[f"000001.{split}"]) for split in ("train", "holdout"))
    assert record.source == read_shard(tmp_path / "train", "000001").source
    inodes = {path: path.stat().st_ino for path in tmp_path.glob("once*/*.bin")}
    again, _ = task.go()
    assert again.outcome == "complete"
    assert {path: path.stat().st_ino for path in inodes} == inodes


def test_compressed_and_served(corpus: Path, tmp_path: Path) -> None:
    """Compressed shards stay compressed, by the same ranks; raw ones get the sidecars of the trainers asked for."""
    before = compressed_job(corpus, tmp_path, tmp_path / "ranks")
    write_all(before, tmp_path / "ranks")
    task = Task(before, tmp_path, lists_of(tmp_path))
    done, failed = task.run(*(tmp_path / "ranks").iterdir())
    assert done.outcome == "complete" and not failed
    assert same(tmp_path / "once", tmp_path / "expected")
    assert verify(task.made).ok
    served = make_job(corpus, tmp_path / "raw")
    served = replace(served, options=replace(served.options, trainers=("datatrove", "olmo")))
    write_all(served)
    raw = Task(served, tmp_path / "raw", lists_of(tmp_path / "raw"))
    assert raw.run()[0].outcome == "complete"
    assert verify(raw.made).ok
    assert read_shard(tmp_path / "raw" / "once", "000000").sidecars.keys() >= {"ds", "npy", "csv.gz"}


@pytest.fixture
def appended(corpus: Path, tmp_path: Path) -> Job:
    """An append of files of the same names, and partly the same documents, behind a run."""
    other = write_corpus(tmp_path / "corpus", planted(real_documents(60), 10).documents, files=2)
    first = make_job(corpus, tmp_path, holdout=Holdout(rate=0.2), ranks=2)
    second = appending(first, other)
    for job in (first, second):
        write_all(job)
    return second


def test_of_directories_that_were_appended_to(appended: Job, tmp_path: Path) -> None:
    """All that is there becomes one dataset, of one identity: the very one that dedup on one machine makes."""
    chain = (*appended.earlier, appended.identity)
    task = Task(appended, tmp_path, lists_of(tmp_path))
    there = [[read_shard(tmp_path / split, f"{unit:06d}") for split in SPLITS] for unit in range(5)]
    units = units_after(
        chain,
        (
            Holding(train.unit, train.source.path, train.source.content_id, train.payload_bytes + other.payload_bytes)
            for train, other in there
        ),
    )
    identity = identity_after(chain, units, SETTINGS, removed_sha256(task.lists.values()))
    task.job = replace(task.job, identity=identity, units=units)
    done, failed = task.run()
    assert done.outcome == "complete" and not failed
    assert same(tmp_path / "once", tmp_path / "expected")
    assert same(tmp_path / "once_holdout", tmp_path / "expected_holdout")
    report = verify(task.made)
    assert report.ok and report.coverage.complete and report.coverage.units == 5
    first, fourth = (read_shard(tmp_path / "once", stem).source.path for stem in ("000000", "000003"))
    assert (first, fourth) == tuple(f"{one.fingerprint[:12]}/part-0.parquet" for one in chain)


def test_what_was_there_before_is_signed(appended: Job, tmp_path: Path) -> None:
    """Units of earlier runs get signatures beside them and keep their records' fingerprints; one that is not whole any
    more fails, and says so, as nothing here could make it anew."""
    first = read_directory(tmp_path / "train").chain[0]
    units = tuple(
        replace(appended.units[0], ordinal=unit, path=source.path, content_id=source.content_id)
        for unit in range(3)
        for source in [read_shard(tmp_path / "train", f"{unit:06d}").source]
    )
    options = replace(appended.options, signatures=SETTINGS.scheme)
    payload = tmp_path / "train" / "000001.bin"
    payload.write_bytes(payload.read_bytes()[:-2])
    job = replace(appended, units=(*units, *appended.units), options=options)
    with supervising(write_job(job, tmp_path / "jobs")) as supervisor:
        done = supervisor.end()
    assert done is not None and done.quarantined == [1]
    (failure,) = supervisor.of(UnitFailed)
    assert isinstance(failure, UnitFailed) and "unit 1 was there before this run appended to it" in failure.reason
    assert sorted(path.stem for path in (tmp_path / "train").glob("*.sig")) == [f"{unit:06d}" for unit in (0, 2, 3, 4)]
    assert read_shard(tmp_path / "train", "000000").fingerprint == first.fingerprint


def test_identity_says_what_is_gone(task: Task, tmp_path: Path) -> None:
    """The fingerprint is another for other lists and other settings, over the same units."""
    identity = task.job.identity
    before = read_directory(tmp_path / "train").identity
    assert identity.units_sha256 == before.units_sha256 and identity.without is not None
    assert identity.differing(before) == [f"without: {identity.without!r}, not None"]
    digest = removed_sha256(task.lists.values())
    others = {
        without_some(before, replace(SETTINGS, threshold=0.9), digest).fingerprint,
        without_some(before, SETTINGS, "0" * 64).fingerprint,
        identity.fingerprint,
        before.fingerprint,
    }
    assert len(others) == 4


def of_another_run(task: Task) -> None:
    assert task.job.removal is not None
    task.job = replace(task.job, removal=replace(task.job.removal, fingerprint="0" * 64))


def without_a_list(task: Task) -> None:
    del task.lists["000001.holdout"]


def beyond_the_end(task: Task) -> None:
    task.lists["000001.train"] = np.array([10_000])


def of_damaged_shards(task: Task) -> None:
    assert task.job.removal is not None
    path = Path(task.job.removal.output_dir) / "000001.bin"
    path.write_bytes(path.read_bytes()[:-2] + b"??")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (of_another_run, "not what duplicates were sought in"),
        (without_a_list, "no removal list of 000001.holdout"),
        (beyond_the_end, "document 10000 is to be removed, and there are"),
        (of_damaged_shards, "000001.bin: these are not the bytes that its record describes"),
    ],
)
def test_what_fails_is_named(spoil: Callable[[Task], None], reason: str, task: Task) -> None:
    """Shards of another fingerprint, lists that lack or do not fit, damaged payloads: the unit fails and says why."""
    spoil(task)
    done, failed = task.run()
    assert done.outcome == "incomplete" and 1 in done.quarantined
    assert any(reason in failure.reason for failure in failed), failed
    assert not (Path(task.job.output_dir) / "000001.json").exists()


def test_signatures_are_not_of_what_is_copied(task: Task, tmp_path: Path) -> None:
    """Ranks that are asked for signatures as well, as when a unit is lost before they are made, write none while they
    copy; started again, they make those of what they have written."""
    task.job = replace(task.job, options=replace(task.job.options, signatures=SETTINGS.scheme))
    for signed in (False, True):
        done, failed = task.run()
        assert done.outcome == "complete" and not failed
        assert any((tmp_path / "once").glob("*.sig")) == signed
        report = verify(task.made)
        assert report.ok and not report.findings
    assert same(tmp_path / "once", tmp_path / "expected")
    found = deduplicate(open_pair(task.made), ByteReference(), SETTINGS, tmp_path / "again")
    assert len(found.duplicates.removed) == 0 and not tree_of(tmp_path / "again" / "signatures")


def test_lists_that_are_not_there(task: Task) -> None:
    """Without its lists a host writes nothing at all."""
    done, failed = task.go()
    assert done.quarantined == [0, 1, 2]
    assert all("start dedup again to send it anew" in failure.reason for failure in failed)


def test_no_hash_no_removal() -> None:
    """A job names its lists by a whole sha256: the name of a file is made of it."""
    with pytest.raises(JobError, match=r"removal: '\.\./x' is no sha256"):
        Removal(output_dir="/a", holdout_dir="/b", fingerprint="0" * 64, lists_sha256="../x")
    with pytest.raises(JobError, match="removal holdout_dir 'b' is not a whole path"):
        Removal(output_dir="~/a", holdout_dir="b", fingerprint="0" * 64, lists_sha256="0" * 64)
