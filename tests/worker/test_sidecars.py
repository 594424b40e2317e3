"""sidecars.py and links.py of shard/storage, shard/records/trainers.py: names and sidecars beside each payload."""

import csv
import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from shard.errors import JobError, VerificationError
from shard.formats.megatron import read_index
from shard.host.requests import Release
from shard.host.share import Share
from shard.records.dedup import Scheme
from shard.records.frozen import sealed_json
from shard.records.job import Holdout, Job
from shard.records.options import Options
from shard.records.progress import Note, UnitDone, UnitsKept
from shard.records.shards import ShardRecord, read_shard
from shard.records.trainers import SIDECARS, SIGNATURES, SUFFIXES, Trainer, sidecars_for
from shard.storage.links import alias
from shard.storage.present import lacking_sidecars
from shard.storage.sidecars import complete_unit
from shard.storage.store import committed, directories_of, discard, remove_unfinished
from shard.verify.stores import verify
from tests.support.jobs import BYTES_SPEC, make_job, unsigned, write_corpus, write_job
from tests.support.supervisors import supervising
from tests.support.worker import write_all

ALL: tuple[Trainer, ...] = ("megatron", "nanogpt", "datatrove", "olmo")


def asking(job: Job, *trainers: Trainer, signatures: Scheme | None = None) -> Job:
    return replace(job, options=replace(job.options, trainers=trainers, signatures=signatures))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Job:
    """Four units without sidecars, of which the first has no document."""
    root = tmp_path_factory.mktemp("bare")
    corpus = write_corpus(root / "corpus", [None] * 10 + [text[:500] for text in documents[:30]], files=4)
    job = make_job(corpus, root / "out", holdout=Holdout(rate=0.3))
    write_all(job)
    return job


@pytest.fixture
def job(bare: Job, tmp_path: Path) -> Job:
    """A copy of them, free to be changed."""
    shutil.copytree(Path(bare.output_dir).parent, tmp_path / "out")
    return replace(bare, output_dir=str(tmp_path / "out/train"), holdout_dir=str(tmp_path / "out/holdout"))


@pytest.fixture(scope="module")
def written(bare: Job, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The same units written for all four trainers, and with signatures."""
    root = tmp_path_factory.mktemp("served")
    job = asking(replace(bare, output_dir=str(root / "out/train"), holdout_dir=str(root / "out/holdout")))
    job = asking(job, *ALL, signatures=Scheme())
    write_all(job)
    return job


@pytest.fixture
def served(written: Job, tmp_path: Path) -> Job:
    """A copy of them, free to be changed, links between its files included."""
    subprocess.run(["cp", "-a", str(Path(written.output_dir).parent), str(tmp_path / "served")], check=True)
    out = {"output_dir": str(tmp_path / "served/train"), "holdout_dir": str(tmp_path / "served/holdout")}
    return replace(written, **out)


def shards(job: Job) -> Iterator[tuple[Path, ShardRecord]]:
    """(payload, record) of every shard of both splits."""
    for directory in directories_of(job).values():
        for payload in sorted(directory.glob("[0-9]*.bin")):
            yield payload, read_shard(directory, payload.stem)


def content(job: Job) -> dict[str, bytes]:
    return {
        f"{split}/{path.name}": path.read_bytes()
        for split, directory in directories_of(job).items()
        for path in sorted(directory.iterdir())
        if path.name[0].isdigit()
    }


def findings(job: Job) -> list[tuple[str, str]]:
    found = verify(list(directories_of(job).values())).findings
    return [(Path(finding.file).name, finding.severity) for finding in found]


# Written


def test_four_trainers_share_one_payload(served: Job) -> None:
    """Every payload lies once on the disk under three names, and all that trainers read beside it says the same."""
    seen = 0
    for payload, record in shards(served):
        beside = {path.name.split(".", 1)[1] for path in payload.parent.glob(f"{payload.stem}.*")}
        assert beside == {"bin", "idx", "json", *record.sidecars}
        if not record.tokens:
            assert record.sidecars == {}
            continue
        seen += 1
        assert record.sidecars.keys() == SIDECARS
        stats = [payload.with_suffix(suffix).stat() for suffix in (".bin", ".ds", ".npy")]
        assert len({stat.st_ino for stat in stats}) == 1
        assert stats[0].st_nlink == 3
        tokens, index = np.fromfile(payload, dtype="<u2"), read_index(payload.with_suffix(".idx"))
        ends = np.fromfile(payload.with_suffix(".ds.index"), dtype="<u8").tolist()
        assert ends == np.cumsum(index.lengths).tolist()
        name, count, _ = payload.with_suffix(".ds.metadata").read_text().split("\n")
        assert (name, int(count)) == ("bytes|2", len(tokens))
        with gzip.open(payload.with_suffix(".csv.gz"), "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        assert [(int(row[0]), int(row[1])) for row in rows] == list(pairwise([0, *ends]))
        assert [row[3] for row in rows] == [record.source.path] * record.documents
    assert seen >= 5
    assert findings(served) == []


def test_sidecars_change_nothing_else(bare: Job, served: Job) -> None:
    """Payloads, indexes and fingerprint are those of a run without; only a record that has sidecars says so."""
    assert bare.fingerprint == served.fingerprint
    with_them = content(served)
    without = content(bare)
    assert {n: d for n, d in with_them.items() if n.endswith((".bin", ".idx"))} == {
        n: d for n, d in without.items() if n.endswith((".bin", ".idx"))
    }
    assert all("sidecars" not in json.loads(data) for name, data in without.items() if name.endswith(".json"))
    assert len(with_them) > len(without)


@pytest.mark.parametrize("trainer", ALL)
def test_only_what_is_asked_for(trainer: Trainer, bare: Job, tmp_path: Path) -> None:
    """Each trainer gets its own files and no others; Megatron's and nanoGPT's are there anyway."""
    alone = replace(bare, output_dir=str(tmp_path / "t"), holdout_dir=str(tmp_path / "h"))
    write_all(asking(alone, trainer))
    assert {suffix for _, record in shards(alone) for suffix in record.sidecars} == set(SUFFIXES[trainer])
    assert findings(alone) == []


def test_empty_payloads_have_none() -> None:
    """Readers map files, and an empty one cannot be mapped."""
    assert sidecars_for(ALL, 0) == ()
    assert {*sidecars_for(ALL, 1), SIGNATURES} == SIDECARS


def test_a_unit_done_again_keeps_no_old_sidecars(served: Job) -> None:
    """A unit written again by a start that asks for none leaves none beside it that nobody vouches for."""
    plain = asking(served)
    for directory in directories_of(served).values():
        (directory / "000002.json").unlink()
    write_all(replace(plain, units=served.units[2:3]))
    assert all(record.sidecars == {} for payload, record in shards(plain) if payload.stem == "000002")
    assert findings(served) == []


# Refused


@pytest.mark.parametrize(
    ("trainer", "change", "words"),
    [
        ("nanogpt", {"vocab_size": 70_000}, "every uint32 of bytes, which has 70000 tokens, for two"),
        ("nanogpt", {"eod_id": None}, "--eod none"),
        ("olmo", {"eod_id": None}, "--eod none"),
        ("datatrove", {"name": "a|b"}, "'|' or a line break"),
    ],
)
def test_what_a_trainer_cannot_read_is_refused(
    trainer: Trainer, change: dict[str, object], words: str, corpus_dir: Path, tmp_path: Path
) -> None:
    """A job for a trainer that would misread its tokens is none; the others take them."""
    tokenizer = replace(BYTES_SPEC, **change)
    with pytest.raises(JobError, match=f"--for {trainer}:") as raised:
        make_job(corpus_dir, tmp_path, tokenizer=tokenizer, options=Options(trainers=(trainer,)))
    assert words in str(raised.value)
    make_job(corpus_dir, tmp_path, tokenizer=tokenizer, options=Options(trainers=("megatron",)))


def test_records_name_known_sidecars_only(served: Job) -> None:
    """A record that lists a file elsewhere is no record of ours."""
    directory = Path(served.output_dir)
    record = json.loads(sealed_json(read_shard(directory, "000001")))
    del record["seal"]
    record["sidecars"]["../../x"] = "0" * 64
    (directory / "000001.json").write_bytes(sealed_json(record))
    with pytest.raises(JobError, match=r"000001.json.*\.\./x"):
        read_shard(directory, "000001")


# Completed


def test_a_resume_makes_what_is_missing(job: Job, served: Job, tmp_path: Path) -> None:
    """Asked for other trainers and signatures, committed units get their sidecars and are not tokenized again: these
    signatures, from tokens, are those from the text."""
    before = {path: path.stat().st_ino for path, _ in shards(job)}
    directory = write_job(asking(job, *ALL, signatures=Scheme()), tmp_path)
    with supervising(directory) as supervisor:
        done = supervisor.end()
    assert done is not None
    assert (done.outcome, supervisor.of(UnitDone)) == ("complete", [])
    kept = [counts.unit for event in supervisor.events if isinstance(event, UnitsKept) for counts in event.units]
    assert sorted(kept) == list(range(4))
    assert {path: path.stat().st_ino for path, _ in shards(job)} == before
    assert findings(job) == []
    ours, fresh = content(job), content(served)
    assert {name: data for name, data in ours.items() if not name.endswith(".json")} == {
        name: data for name, data in fresh.items() if not name.endswith(".json")
    }
    log = (directory / "log/rank-0.log").read_text()
    assert "its sidecars are whole now" in log


def test_units_that_lack_only_sidecars_stay(job: Job, tmp_path: Path) -> None:
    """However far behind a host is, it gives no unit away whose tokens it has: another would tokenize it again."""
    (Path(job.output_dir) / "000003.json").unlink()
    share = Share(asking(job, "olmo"), tmp_path, directories_of(job), lambda event: None)
    share.begin()
    assert len(share.units) == 3  # the first has no document, so it lacks nothing
    assert share.change(Release(number=1, bytes=1 << 60)) == [3]
    assert len(share.units) == 2


def test_completing_is_done_once(job: Job) -> None:
    """What is there is not made again; what is lost, or of another size, is."""
    wanted = asking(job, "datatrove")
    directories = directories_of(job)
    unit = job.units[2]
    assert complete_unit(wanted, directories, unit, unsigned) is not None
    first = {path: path.stat().st_mtime_ns for path in directories["train"].glob("000002.*")}
    again = complete_unit(wanted, directories, unit, unsigned)
    assert again is not None
    assert again.records == committed(job, directories, unit)
    assert {path: path.stat().st_mtime_ns for path in directories["train"].glob("000002.*")} == first
    (directories["train"] / "000002.ds").unlink()
    (directories["train"] / "000002.ds.index").write_bytes(b"short")
    assert lacking_sidecars(directories["train"], "000002", again.records["train"], Options()) == ("ds", "ds.index")
    complete_unit(job, directories, unit, unsigned)
    assert findings(job) == []
    assert complete_unit(wanted, directories, replace(unit, content_id="etag:other"), unsigned) is None


def test_no_sidecar_is_made_from_a_damaged_index(job: Job) -> None:
    """A flipped byte in an index is named instead of being copied into what trainers read; nothing changes."""
    index = Path(job.output_dir) / "000002.idx"
    data = bytearray(index.read_bytes())
    data[40] ^= 1
    index.write_bytes(data)
    before = {name: held for name, held in content(job).items() if name.startswith("train")}
    with pytest.raises(VerificationError, match=f"{index}: sha256"):
        complete_unit(asking(job, *ALL), directories_of(job), job.units[2], unsigned)
    assert {name: held for name, held in content(job).items() if name.startswith("train")} == before


def test_without_links_payloads_are_copied(job: Job, tmp_path: Path) -> None:
    """Where a payload cannot be linked it is copied, and the host says so, once."""
    payloads = [path for path, record in shards(job) if record.tokens]
    # The kernel makes no second name for an immutable file, as a file system without links makes none at all.
    try:
        made = subprocess.run(["chattr", "+i", *map(str, payloads)], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs chattr")
    if made.returncode:
        pytest.skip(f"needs root and a file system with immutable files: {made.stderr.decode().strip()}")
    try:
        with supervising(write_job(asking(job, "datatrove"), tmp_path)) as supervisor:
            supervisor.end()
        assert [event.text for event in supervisor.events if isinstance(event, Note)] == [
            "the file system knows no hard links: payloads are copied for --for, and take their space again"
        ]
        assert not any(path.samefile(path.with_suffix(".ds")) for path in payloads)
        assert findings(job) == []
    finally:
        subprocess.run(["chattr", "-i", *map(str, payloads)], check=True)


def test_alias_replaces_whole(tmp_path: Path) -> None:
    """An alias takes the place of whatever had the name, its own payload included, and leaves nothing beside it."""
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"payload")
    target.write_bytes(b"old")
    for _ in range(2):
        assert alias(source, target)
        assert source.samefile(target)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


# Removed


def test_what_no_record_lists_is_removed(job: Job, served: Job) -> None:
    """Sidecars of a completion that was killed go; those that records list, and those of other hosts' units, stay."""
    directories = directories_of(job)
    for directory in directories.values():
        for name in ("000002.ds.index", "000009.npy"):
            (directory / name).write_bytes(b"x")
    assert findings(job) == [("000002.ds.index", "warning"), ("000009.npy", "warning")] * 2
    remove_unfinished(directories, job.units)
    assert not (directories["train"] / "000002.ds.index").exists()
    assert (directories["holdout"] / "000009.npy").exists()
    before = content(served)
    remove_unfinished(directories_of(served), served.units)
    assert content(served) == before


def test_discard_takes_sidecars_along(served: Job) -> None:
    """A unit that another host keeps leaves nothing here."""
    discard(directories_of(served), [2])
    assert not [name for name in content(served) if "/000002." in name]


# Verified


@pytest.mark.parametrize("suffix", sorted(SIDECARS))
@pytest.mark.parametrize("harm", ["gone", "cut", "flipped", "longer"])
def test_a_damaged_sidecar_is_named(suffix: str, harm: str, served: Job) -> None:
    """A sidecar that is missing or other than its record says is the one error there is."""
    path = Path(served.output_dir) / f"000002.{suffix}"
    data = bytearray(path.read_bytes())
    path.unlink()
    if harm == "cut":
        path.write_bytes(data[:-1])
    elif harm == "flipped":
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    elif harm == "longer":
        path.write_bytes(data + b"\0")
    assert findings(served) == [(path.name, "error")]


def test_a_copy_is_as_good_as_a_link(served: Job) -> None:
    """After a copy of the directory that knows no links, verify reads each name of the payload by itself."""
    path = Path(served.output_dir) / "000002.ds"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    assert findings(served) == []
