"""shard/storage/store.py and shard/storage/disk.py"""

import fcntl
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from shard.errors import DirectoryInUseError, FingerprintError, JobError, StoreError
from shard.records.job import Holdout, Job
from shard.records.shards import read_directory
from shard.storage.disk import write_atomic
from shard.storage.store import committed, directories_of, open_store, remove_unfinished
from tests.support.jobs import RUN_ID, make_job
from tests.support.worker import write_all


@pytest.fixture
def job(corpus_dir: Path, tmp_path: Path) -> Job:
    return make_job(corpus_dir, tmp_path / "out")


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


# Opening


def test_opening_makes_the_directories(job: Job, tmp_path: Path) -> None:
    """Both directories are made, with a record that says what they are; opening again changes nothing."""
    with open_store(job) as directories:
        pass
    assert {"train": tmp_path / "out/train", "holdout": tmp_path / "out/holdout"} == directories
    for split, directory in directories.items():
        assert (split, job.fingerprint) == (read_directory(directory).split, read_directory(directory).fingerprint)
    before = {split: contents(directory) for split, directory in directories.items()}
    with open_store(replace(job, run_id="another-run")):
        pass
    for split, directory in directories.items():
        after = contents(directory)
        assert before[split].pop(".shardfleet.lock") != after.pop(".shardfleet.lock")
        assert before[split] == after


def test_tilde_is_the_home(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` in a job's directories means this host's home."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    moved = replace(job, output_dir="~/dataset_shard", holdout_dir="~/holdout_shard")
    assert [tmp_path / "home/dataset_shard", tmp_path / "home/holdout_shard"] == list(directories_of(moved).values())


def test_one_directory_for_both(job: Job) -> None:
    """Train and holdout in one directory would overwrite each other, however the path is spelled, links included."""
    with (
        pytest.raises(StoreError, match="are the same directory"),
        open_store(replace(job, holdout_dir=job.output_dir)),
    ):
        pass
    spelled = replace(job, holdout_dir=f"{job.output_dir}/../train/.")
    with pytest.raises(StoreError, match="are the same directory"), open_store(spelled):
        pass
    Path(job.output_dir).mkdir(parents=True)
    Path(job.holdout_dir).symlink_to(job.output_dir)
    with pytest.raises(StoreError, match="split: 'holdout', not 'train'"), open_store(job):
        pass


def test_the_holdout_may_lie_inside(job: Job) -> None:
    """One directory inside the other is fine."""
    with open_store(replace(job, holdout_dir=f"{job.output_dir}/holdout")):
        pass


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("holdout_rate", {"holdout": Holdout(rate=0.2)}),
        ("holdout_seed", {"holdout": Holdout(rate=0.1, seed=7)}),
        ("eod_id: None, not 256", {"eod_id": None}),
        ("units: 3, not 4", {"units": 3}),
    ],
)
def test_another_fingerprint_is_refused(field: str, change: dict[str, object], job: Job, corpus_dir: Path) -> None:
    """A directory of other options is refused, naming what differs, and nothing in it changes."""
    write_all(job)
    directories = directories_of(job)
    before = {split: contents(directory) for split, directory in directories.items()}
    output = Path(job.output_dir).parent
    if "holdout" in change:
        other = make_job(corpus_dir, output, holdout=change["holdout"])  # type: ignore[arg-type]
    elif "eod_id" in change:
        other = make_job(corpus_dir, output, tokenizer=replace(job.tokenizer, eod_id=None))
    else:
        other = make_job(corpus_dir, output, units=job.units[:3])
    with pytest.raises(FingerprintError, match=field), open_store(other):
        pass
    assert before == {split: contents(directory) for split, directory in directories.items()}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("000000.bin", b"precious", "holds 000000.bin but no dataset.json"),
        ("000007.json", b"{}", "holds 000007.json but no dataset.json"),
        ("dataset.json", b'{"my": "own"}', "dataset.json: not a DirectoryRecord"),
        ("dataset.json", b"", "dataset.json: not a DirectoryRecord"),
    ],
)
def test_foreign_files_are_refused(name: str, content: bytes, message: str, job: Job) -> None:
    """Files that look like ours but belong to nothing known are not adopted."""
    Path(job.output_dir).mkdir(parents=True)
    (Path(job.output_dir) / name).write_bytes(content)
    with pytest.raises((StoreError, JobError), match=message), open_store(job):
        pass
    assert (Path(job.output_dir) / name).read_bytes() == content


def test_files_of_others_are_left_alone(job: Job) -> None:
    """What is no shard may lie beside shards, and even --overwrite leaves it."""
    Path(job.output_dir).mkdir(parents=True)
    for name in ("notes.txt", "model.bin", "0.bin", "12345.bin"):
        (Path(job.output_dir) / name).write_text("mine")
    for overwrite in (False, True):
        with open_store(replace(job, overwrite=overwrite)) as directories:
            pass
    assert {"notes.txt", "model.bin", "0.bin", "12345.bin"} <= set(contents(directories["train"]))


def test_overwrite_keeps_the_same_fingerprint(job: Job) -> None:
    """--overwrite replaces shards of other options; shards of the same are kept."""
    write_all(job)
    before = contents(Path(job.output_dir))
    with open_store(replace(job, overwrite=True)) as directories:
        assert all(committed(job, directories, unit) for unit in job.units)
    assert before == contents(Path(job.output_dir))


def test_overwrite_replaces_another_fingerprint(job: Job, corpus_dir: Path) -> None:
    """--overwrite removes every shard of other options before the first new one."""
    write_all(job)
    output = Path(job.output_dir).parent
    other = make_job(corpus_dir, output, holdout=Holdout(rate=0.2), overwrite=True)
    with open_store(other) as directories:
        for directory in directories.values():
            assert set(contents(directory)) == {".shardfleet.lock", "dataset.json"}
            assert other.fingerprint == read_directory(directory).fingerprint


def test_a_file_in_the_way(job: Job, tmp_path: Path) -> None:
    """A file where the directory should be is an error with the path."""
    (tmp_path / "out").write_text("")
    with pytest.raises(StoreError, match="out/train"), open_store(job):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission(job: Job, tmp_path: Path) -> None:
    """So is a directory that cannot be written to."""
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(StoreError, match="Permission denied"), open_store(job):
        pass


def test_a_read_only_file_system(job: Job) -> None:
    """So is one that nobody may write to."""
    with pytest.raises(StoreError, match="/proc/shardfleet"), open_store(replace(job, output_dir="/proc/shardfleet")):
        pass


# Locks


_HOLDER = """
import sys, msgspec
from pathlib import Path
from shard.records.frozen import read_record
from shard.records.job import Job
from shard.storage.store import open_store
with open_store(read_record(Path(sys.argv[1]), Job)):
    print("open", flush=True)
    sys.stdin.read()
"""


def opened_elsewhere(job: Job, path: Path, stack: ExitStack) -> subprocess.Popen[str]:
    """A process that holds a job's directories until its standard input ends."""
    path.write_bytes(msgspec.json.encode(job))
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    )
    return process


def test_a_second_run_is_refused(job: Job, tmp_path: Path) -> None:
    """While one run has a directory open another is refused, and told who has it; a killed run holds nothing."""
    with ExitStack() as stack:
        holder = opened_elsewhere(job, tmp_path / "job.json", stack)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        other = replace(job, run_id="another-run")
        for overwrite in (False, True):
            with (
                pytest.raises(DirectoryInUseError, match=rf"run {RUN_ID} is writing there.*shardfleet abort {RUN_ID}"),
                open_store(replace(other, overwrite=overwrite)),
            ):
                pass
        holder.kill()
        holder.wait()
        with open_store(other):
            pass


def test_hosts_of_one_run_share(job: Job, tmp_path: Path) -> None:
    """Hosts of one run open the same directories at the same moment, none is refused, and others are kept out until
    the last is done."""
    with ExitStack() as stack:
        holders = [opened_elsewhere(replace(job, host=f"h{i}"), tmp_path / f"{i}.json", stack) for i in range(6)]
        for holder in holders:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "open\n"
        for holder in holders:
            with pytest.raises(DirectoryInUseError), open_store(replace(job, run_id="another-run")):
                pass
            assert holder.stdin is not None
            holder.stdin.close()
            assert holder.wait() == 0
        with open_store(replace(job, run_id="another-run")):
            pass


def test_hosts_of_one_run_overwrite_once(job: Job, corpus_dir: Path, tmp_path: Path) -> None:
    """With --overwrite the first host clears the directory; those that come later find it theirs and remove nothing."""
    write_all(job)
    other = make_job(corpus_dir, tmp_path / "out", holdout=Holdout(rate=0.2), overwrite=True, run_id="new-run")
    write_all(other)
    before = contents(Path(job.output_dir))
    with open_store(replace(other, host="late")):
        pass
    assert before == contents(Path(job.output_dir))


def test_waiting_for_a_host_that_is_just_opening(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that finds the directory held alone, as while another makes it its own, waits and then shares it."""
    with open_store(job):
        pass
    descriptor = os.open(Path(job.output_dir) / ".shardfleet.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    opened = threading.Event()

    def open_it() -> None:
        with open_store(job):
            opened.set()

    thread = threading.Thread(target=open_it)
    thread.start()
    assert not opened.wait(0.3)
    os.close(descriptor)
    assert opened.wait(30)
    thread.join()


# Commits


def test_what_counts_as_committed(job: Job) -> None:
    """A unit counts when both records match and all four files have their recorded sizes; else it is done again."""
    write_all(job)
    directories = directories_of(job)
    unit = job.units[0]
    records = committed(job, directories, unit)
    assert records is not None
    assert {"train", "holdout"} == set(records)
    for split in ("train", "holdout"):
        for suffix in ("bin", "idx", "json"):
            path = directories[split] / f"{unit.stem}.{suffix}"
            whole = path.read_bytes()
            path.unlink()
            assert committed(job, directories, unit) is None
            path.write_bytes(whole[:-1])
            assert committed(job, directories, unit) is None
            path.write_bytes(whole)
            assert committed(job, directories, unit) == records
    assert committed(replace(job, identity=replace(job.identity, units_sha256="0" * 64)), directories, unit) is None


def test_remove_unfinished(job: Job) -> None:
    """Temporary files of these units go; those of others, of another host perhaps, and shards, stay."""
    write_all(job)
    directories = directories_of(job)
    mine, others = ".000000.bin.17.tmp", ".000099.bin.17.tmp"
    for directory in directories.values():
        (directory / mine).touch()
        (directory / others).touch()
    before = set(contents(directories["train"]))
    remove_unfinished(directories, job.units)
    assert before - {mine} == set(contents(directories["train"]))
    assert mine not in contents(directories["holdout"])


def test_a_holdout_record_without_its_commit_is_removed(job: Job) -> None:
    """Killed between its two records, a unit leaves a holdout that nothing commits: it goes; other units stay."""
    write_all(job)
    directories = directories_of(job)
    first, second, *_ = job.units
    for unit in (first, second):
        (directories["train"] / f"{unit.stem}.json").unlink()
    remove_unfinished(directories, [first])
    assert f"{first.stem}.json" not in contents(directories["holdout"])
    assert f"{second.stem}.json" in contents(directories["holdout"])


def test_an_unreachable_train_directory_says_nothing_of_commits(job: Job) -> None:
    """While the disk of the shards is not mounted, no holdout record is taken for unfinished."""
    write_all(job)
    directories = directories_of(job)
    before = contents(directories["holdout"])
    directories["train"].rename(directories["train"].with_name("away"))
    remove_unfinished(directories, job.units)
    assert before == contents(directories["holdout"])


# Files that appear whole or not at all


@pytest.mark.parametrize("durable", [True, False])
def test_write_atomic(durable: bool, tmp_path: Path) -> None:
    """A file is replaced whole; nothing else is left in the directory; the mode is as asked."""
    path = tmp_path / "x.json"
    for content in (b"first", b"second"):
        write_atomic(path, content, mode=0o600, durable=durable)
        assert (content, [path]) == (path.read_bytes(), list(tmp_path.iterdir()))
    assert path.stat().st_mode & 0o777 == 0o600


def test_write_atomic_that_fails(tmp_path: Path) -> None:
    """When it cannot, the old file is as it was, and nothing is left."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "full").touch()
    with pytest.raises(OSError, match="directory"):
        write_atomic(tmp_path / "x", b"data")
    assert [tmp_path / "x"] == list(tmp_path.iterdir())
