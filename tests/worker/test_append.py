"""Directories that are appended to: what is there stays, new units come behind it, and all of it is one dataset."""

import shutil
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from shard.concat import concatenate
from shard.errors import FingerprintError, JobError, VerificationError
from shard.host.commits import commits_of
from shard.host.contents import contents_of
from shard.records.frozen import sealed_json
from shard.records.identity import Identity, broken_link, identity_at
from shard.records.job import Holdout, Job, identity_of
from shard.records.shards import DIRECTORY_FILE, read_directory, read_shard
from shard.records.unit import Unit
from shard.source.files import content_id, filesystem
from shard.storage.store import committed, open_store
from shard.storage.stored import open_stored
from shard.verify.stores import verify, verify_job
from tests.support.jobs import appending, make_job, write_corpus
from tests.support.plans import tree_of
from tests.support.worker import write_all

HOLDOUT = Holdout(rate=0.3)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    """Three datasets with files of the same names, and `union` with the files of all in that order."""
    root = tmp_path_factory.mktemp("corpora")
    write_corpus(root / "one", [None, *documents[:30]], files=3)
    write_corpus(root / "two", documents[30:50], files=2)
    write_corpus(root / "three", documents[50:60], files=1)
    (root / "union").mkdir()
    for number, name in enumerate(("one", "two", "three")):
        for file in (root / name).iterdir():
            shutil.copy(file, root / "union" / f"{number}-{file.name}")
    return root


@pytest.fixture(scope="module")
def stores(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Job]]:
    """Two appends behind a run, as `appended`; one run over the union, as `union`."""
    root = tmp_path_factory.mktemp("stores")
    first = make_job(corpora / "one", root / "appended", holdout=HOLDOUT)
    second = appending(first, corpora / "two")
    jobs = [first, second, appending(second, corpora / "three")]
    for job in jobs:
        write_all(job)
    write_all(make_job(corpora / "union", root / "union", holdout=HOLDOUT))
    return root, jobs


@pytest.fixture
def appended(stores: tuple[Path, list[Job]], tmp_path: Path) -> tuple[Path, list[Job]]:
    """A copy, free to be damaged, with the jobs that made it."""
    root, jobs = stores
    shutil.copytree(root / "appended", tmp_path / "appended")
    there = {"output_dir": str(tmp_path / "appended" / "train"), "holdout_dir": str(tmp_path / "appended" / "holdout")}
    return tmp_path / "appended", [replace(job, **there) for job in jobs]


def shards(directory: Path, *suffixes: str) -> dict[str, bytes]:
    return {name: data for name, data in tree_of(directory).items() if name.endswith(suffixes) and name[0].isdigit()}


# What it is


def test_fingerprints_of_ordinary_runs_are_as_they_were(corpora: Path, tmp_path: Path) -> None:
    """What only an append says is left out of identity and dataset.json where there is none."""
    identity = Identity(
        format="shardfleet", version=1, tokenizer_kind="bytes", tokenizer_sha256="0" * 64, vocab_size=257, eod_id=256,
        dtype="uint16", text_column="text", holdout_rate=0.001, holdout_seed=0, units=3, units_sha256="1" * 64,
    )  # fmt: skip
    assert identity.fingerprint == "3de4486c2311515533c357c7c63eb2d71cfb20ec906ce3d91df4e7d39d2b0a76"
    job = make_job(corpora / "one", tmp_path, holdout=HOLDOUT)
    write_all(job)
    assert b"earlier" not in (tmp_path / "train" / DIRECTORY_FILE).read_bytes()


def test_a_chain_holds_together(stores: tuple[Path, list[Job]]) -> None:
    """Every identity names the one before it and begins where that ends; units are found in it."""
    chain = read_directory(stores[0] / "appended" / "train").chain
    assert [(one.first_unit, one.units) for one in chain] == [(0, 3), (3, 5), (5, 6)]
    assert broken_link(chain) is None
    assert [identity_at(chain, unit) for unit in (0, 2, 3, 5, 6)] == [*chain[:1] * 2, chain[1], chain[2], None]
    other = replace(chain[1], eod_id=None)
    for wrong in (chain[1:], chain[::2], (chain[0], replace(chain[1], first_unit=4)), (chain[0], other)):
        assert broken_link(wrong) is not None
    assert broken_link((chain[0], replace(chain[1], text_column="content"))) is None


def test_a_job_with_a_broken_chain_is_refused(stores: tuple[Path, list[Job]]) -> None:
    """A job says what it comes behind, and its units come behind that."""
    job = stores[1][2]
    with pytest.raises(JobError, match="earlier: "):
        replace(job, earlier=job.earlier[1:]).__post_init__()
    first: Unit = replace(job.units[0], ordinal=2)
    with pytest.raises(JobError, match="unit 2 is before the first, 5"):
        msgspec.json.decode(msgspec.json.encode(replace(job, units=(first,))), type=Job)


# What it does


def test_bytes_are_those_of_one_run(stores: tuple[Path, list[Job]]) -> None:
    """Payloads and indexes equal, file for file, those of a run over the union; verify proves every row."""
    root, jobs = stores
    for split in ("train", "holdout"):
        appended = shards(root / "appended" / split, ".bin", ".idx")
        assert appended == shards(root / "union" / split, ".bin", ".idx") and len(appended) == 12
    report = verify([root / "appended" / "train"])
    assert report.ok and report.coverage.complete, report.findings
    assert (report.coverage.units, report.coverage.rows) == (6, 61)
    one, two = (open_stored(root / name / "train") for name in ("appended", "union"))
    assert (one.documents, one.tokens) == (two.documents, two.tokens)
    assert verify_job(jobs[2]).coverage.complete


def test_what_is_there_is_not_touched(corpora: Path, tmp_path: Path) -> None:
    """Shards that are committed keep their bytes, times and inodes, records included."""
    first = make_job(corpora / "one", tmp_path, holdout=HOLDOUT)
    write_all(first)
    before = {path: path.stat() for path in tmp_path.rglob("[0-9]*.*")}
    write_all(appending(first, corpora / "two"))
    assert {path: path.stat() for path in before} == before
    assert len(list(tmp_path.rglob("[0-9]*.*"))) == len(before) + 12


def test_an_append_that_was_cut_short_goes_on(corpora: Path, tmp_path: Path) -> None:
    """The same job again finds the directories its own and does what is missing."""
    first = make_job(corpora / "one", tmp_path, holdout=HOLDOUT)
    write_all(first)
    job = appending(first, corpora / "two")
    write_all(replace(job, units=job.units[:1]))
    with open_store(job) as directories:
        assert [committed(job, directories, unit) is not None for unit in job.units] == [True, False]
    assert not verify([tmp_path / "train"]).coverage.complete
    write_all(job)
    assert verify([tmp_path / "train"]).coverage.complete


def test_a_host_without_directories_takes_part(corpora: Path, stores: tuple[Path, list[Job]], tmp_path: Path) -> None:
    """A host that is new, or that took no part in the append before, has the whole chain in its dataset.json."""
    jobs = stores[1]
    for name, done in (("new", []), ("behind", jobs[:1])):
        there = {field: str(tmp_path / name / field) for field in ("output_dir", "holdout_dir")}
        for job in (*done, jobs[2]):
            write_all(replace(job, **there))
        record = read_directory(tmp_path / name / "output_dir")
        assert record == read_directory(stores[0] / "appended" / "train")
        assert open_stored(tmp_path / name / "output_dir").shards[-1].record.unit == 5


def test_other_directories_are_refused(corpora: Path, stores: tuple[Path, list[Job]], tmp_path: Path) -> None:
    """Neither a directory of another chain nor one that has been appended to since is taken."""
    other = make_job(corpora / "three", tmp_path, holdout=HOLDOUT)
    write_all(other)
    there = {"output_dir": other.output_dir, "holdout_dir": other.holdout_dir}
    with pytest.raises(FingerprintError, match="first_unit: 3, not 0"), open_store(replace(stores[1][1], **there)):
        pass
    before = tree_of(stores[0] / "appended")
    with pytest.raises(FingerprintError, match="appended to them since"), open_store(stores[1][1]):
        pass
    assert tree_of(stores[0] / "appended") == before


# What others make of it


def test_a_run_that_was_appended_to_is_not_done_over_it(appended: tuple[Path, list[Job]]) -> None:
    """An earlier run of the same directories is refused, also with --overwrite, and what is there stays."""
    root, jobs = appended
    before = tree_of(root / "train")
    for job in (jobs[0], replace(jobs[1], overwrite=True)):
        with pytest.raises(FingerprintError, match="appended to them since"), open_store(job):
            pytest.fail("opened")
    assert tree_of(root / "train") == before


def test_the_launcher_hears_of_all_units(stores: tuple[Path, list[Job]]) -> None:
    """Commits are told of the whole directory, with the files of units that are none of the run's own."""
    root, jobs = stores
    commits = commits_of(jobs[2]).units
    assert [commit.counts.unit for commit in commits] == [0, 1, 2, 3, 4, 5]
    records = [read_shard(root / "appended" / "train", f"{unit:06d}") for unit in range(6)]
    assert [commit.path for commit in commits] == [*(record.source.path for record in records[:5]), ""]
    found = contents_of(Path(jobs[2].output_dir), Path(jobs[2].holdout_dir))
    assert found.record == read_directory(Path(jobs[2].output_dir))
    assert [unit.content_id for unit in found.units] == [record.source.content_id for record in records]


def test_a_shard_of_the_wrong_identity_is_found(appended: tuple[Path, list[Job]]) -> None:
    """A record has the fingerprint of the identity among whose units it is, and no other of the chain."""
    directory = appended[0] / "train"
    chain = read_directory(directory).chain
    record = read_shard(directory, "000001")
    (directory / "000001.json").write_bytes(sealed_json(replace(record, fingerprint=chain[1].fingerprint)))
    with pytest.raises(VerificationError, match=r"000001\.json"):
        open_stored(directory)
    found = [str(finding) for finding in verify([directory]).findings]
    assert any("000001.json: fingerprint" in line for line in found)
    assert [commit.counts.unit for commit in commits_of(appended[1][2]).units] == [0, 2, 3, 4, 5]


def test_a_chain_that_does_not_hold_is_found(appended: tuple[Path, list[Job]]) -> None:
    """verify names a dataset.json whose identities do not follow each other."""
    for split in ("train", "holdout"):
        path = appended[0] / split / DIRECTORY_FILE
        record = read_directory(path.parent)
        path.write_bytes(sealed_json(replace(record, earlier=record.earlier[1:])))
    found = [str(finding) for finding in verify([appended[0] / "train"]).findings]
    assert any("dataset.json: earlier: units 3 to 5" in line for line in found)


def test_a_missing_unit_of_any_identity_is_seen(appended: tuple[Path, list[Job]]) -> None:
    """Coverage is over all that was ever appended."""
    for unit in (1, 4):
        for path in appended[0].rglob(f"{unit:06d}.*"):
            path.unlink()
    coverage = verify([appended[0] / "train"]).coverage
    assert (coverage.missing, coverage.complete, coverage.proven) == (((1, 2), (4, 5)), False, 4)


def test_appended_directories_can_be_joined(stores: tuple[Path, list[Job]], corpora: Path, tmp_path: Path) -> None:
    """concat takes one like any other: its units first, then those of the next."""
    other = make_job(corpora / "union", tmp_path / "other", holdout=HOLDOUT)
    write_all(other)
    sources = [stores[0] / "appended" / split for split in ("train", "holdout")]
    concatenate([*sources, Path(other.output_dir), Path(other.holdout_dir)], tmp_path / "all", tmp_path / "all_holdout")
    report = verify([tmp_path / "all"])
    assert report.coverage.complete and report.coverage.units == 12, report.findings


def test_files_cut_by_lines_may_have_one_name(documents: list[str], tmp_path: Path) -> None:
    """The lines of an appended file are followed by themselves, whatever file of its name was there before."""
    first: Job | None = None
    for name, texts in (("one", documents[:20]), ("two", documents[20:60])):
        path = tmp_path / name / "part.jsonl"
        path.parent.mkdir()
        path.write_bytes(b"".join(msgspec.json.encode({"text": text}) + b"\n" for text in texts))
        fs, _ = filesystem(str(path))
        held = content_id(fs, str(path), fs.info(str(path)))
        units = [
            Unit(ordinal=part, path="part.jsonl", size=path.stat().st_size, content_id=held, part=part, parts=3)
            for part in range(3)
        ]
        job = make_job(path.parent, tmp_path / "out", holdout=HOLDOUT, units=units)
        if first is not None:
            units = [replace(unit, ordinal=3 + unit.ordinal) for unit in units]
            identity = identity_of(job.dataset, job.tokenizer, job.holdout, units, base=first.identity)
            job = replace(job, units=tuple(units), identity=identity, earlier=(first.identity,))
        first = job
        write_all(job)
    report = verify([tmp_path / "out" / "train"])
    assert report.ok and report.coverage.complete, report.findings
    assert report.coverage.rows == 60
