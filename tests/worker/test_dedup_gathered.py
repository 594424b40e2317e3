"""What hosts answer of their signatures, and the search over it: as over directories on one machine."""

from collections.abc import Callable, Mapping
from dataclasses import replace as with_fields
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from msgspec.structs import replace

from shard.dedup.answers import keys_of_units, signatures_of_units
from shard.dedup.gathered import Found, Some, UnitKeys, find_gathered
from shard.dedup.parts import Take
from shard.dedup.questions import KeysQuestion, SignaturesQuestion, keys_size
from shard.dedup.run import at_work, deduplicate, open_pair
from shard.errors import JobError, VerificationError
from shard.formats.signatures import header_of
from shard.records.dedup import Scheme, Settings
from shard.records.job import Holdout, Job
from shard.records.shards import read_shard
from shard.signatures.unsigned import unsigned_units
from shard.tokenizer.raw_bytes import ByteReference
from tests.support import disks
from tests.support.copies import planted
from tests.support.jobs import make_job, write_corpus
from tests.support.plans import tree_of
from tests.support.text import real_documents
from tests.support.worker import write_all

SETTINGS = Settings()


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Four signed units with planted copies, one of them without a document."""
    root = tmp_path_factory.mktemp("signed")
    documents = planted(real_documents(120), 20).documents
    corpus = write_corpus(root / "corpus", [*documents, *[None] * 60], files=4)
    job = make_job(corpus, root, holdout=Holdout(rate=0.2))
    job = replace(job, options=replace(job.options, signatures=SETTINGS.scheme))
    write_all(job)
    return job


def bring(job: Job, directory: Path) -> list[UnitKeys]:
    """The keys of all units, as the launcher keeps them."""
    directory.mkdir()
    units: list[UnitKeys] = []
    for unit in job.units:
        train, holdout = (read_shard(Path(path), unit.stem).documents for path in (job.output_dir, job.holdout_dir))
        keys = UnitKeys(unit.ordinal, {"train": train, "holdout": holdout}, "", directory / f"{unit.stem}.keys")
        (data,) = keys_of_units(job, KeysQuestion(settings=SETTINGS, units=[unit.ordinal]))
        assert len(data) == keys_size(SETTINGS, train + holdout)
        keys.path.write_bytes(data)
        units.append(keys)
    return units


def find(job: Job, units: list[UnitKeys], work: Path, settings: Settings = SETTINGS) -> Found:
    def fetch(wanted: Mapping[int, Some], take: Take) -> None:
        for number, some in reversed(wanted.items()):
            question = SignaturesQuestion(scheme=SETTINGS.scheme, wanted=[some.wanted()])
            take(number, *signatures_of_units(job, question))

    return find_gathered(units, settings, work, fetch)


def test_as_over_directories(job: Job, tmp_path: Path) -> None:
    """Lists and what the fingerprint is made of are those of one machine."""
    found = find(job, bring(job, tmp_path / "keys"), tmp_path)
    found.write(tmp_path / "removed")
    pair = open_pair([Path(job.output_dir), Path(job.holdout_dir)])
    here = deduplicate(pair, ByteReference(), SETTINGS, tmp_path / "here")
    assert tree_of(tmp_path / "removed") == tree_of(tmp_path / "here" / "removed")
    assert found.duplicates.exact == here.duplicates.exact > 0
    assert len(found.duplicates.removed) > found.duplicates.exact
    assert sum(map(len, found.lists.values())) == len(found.duplicates.removed)


def test_sources_are_kept_apart(job: Job, tmp_path: Path) -> None:
    """With scope source, what is of one dataset is compared with what is of it alone."""
    units = bring(job, tmp_path / "keys")
    removed = []
    for sources in ("aaaa", "abab", "abcd"):
        named = [with_fields(unit, source=source) for unit, source in zip(units, sources, strict=True)]
        removed.append(len(find(job, named, tmp_path, replace(SETTINGS, scope="source")).duplicates.removed))
    assert removed[0] == len(find(job, units, tmp_path).duplicates.removed) > removed[1] > removed[2]


def test_keys_that_are_not_whole(job: Job, tmp_path: Path) -> None:
    """Keys that are cut short are fetched again; damaged ones are named, and never compared."""
    units = bring(job, tmp_path / "keys")
    assert all(unit.is_here(SETTINGS) for unit in units)
    data = units[1].path.read_bytes()
    units[1].path.write_bytes(data[:-1])
    units[2].path.unlink()
    assert [unit.is_here(SETTINGS) for unit in units] == [True, False, False, True]
    for place in (0, 40, len(data) - 1):
        units[1].path.write_bytes(data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :])
        with pytest.raises(VerificationError, match=rf"{units[1].path}: damaged; remove it"):
            units[1].read(SETTINGS)


def test_signatures_that_are_not_there(job: Job, tmp_path: Path) -> None:
    """A host names the units that lack signatures by a scheme, and answers with no others."""
    assert unsigned_units(job, SETTINGS.scheme) == []
    other = Scheme(seed=7)
    # Of the last there is nothing to sign.
    assert unsigned_units(job, other) == [0, 1, 2]
    with pytest.raises(JobError, match=r"000001\.sig: no signatures by this scheme"):
        list(keys_of_units(job, KeysQuestion(settings=replace(SETTINGS, scheme=other), units=[1])))
    path = Path(job.output_dir) / "000001.sig"
    data = path.read_bytes()
    try:
        path.write_bytes(data[:-1] + b"?")
        with pytest.raises(VerificationError, match=r"000001\.sig: these are not the bytes"):
            list(keys_of_units(job, KeysQuestion(settings=SETTINGS, units=[1])))
        path.write_bytes(data[:-1])
        assert unsigned_units(job, SETTINGS.scheme) == [1]
    finally:
        path.write_bytes(data)


@pytest.mark.root
@pytest.mark.parametrize("lacking", ["pages", "files"])
def test_a_full_disk_at_any_moment(lacking: Literal["pages", "files"], job: Job, tmp_path: Path) -> None:
    """Wherever space for files, or for what is in them, runs out while keys are sorted, signatures compared and lists
    written: the disk is named, nothing is left but whole files, and with room the lists are what they are."""
    units = bring(job, tmp_path / "keys")
    find(job, units, tmp_path).write(tmp_path / "removed")

    def search() -> None:
        with at_work(disk / "work"):
            find(job, units, disk / "work").write(disk / "work" / "removed")

    with disks.small_disk(tmp_path / "disk", "1m,nr_inodes=40") as disk:
        assert disks.filled_up(disk, search, lacking=lacking) > 4
        assert tree_of(disk / "work") == {f"removed/{n}": data for n, data in tree_of(tmp_path / "removed").items()}


def bit_of_the_header(data: bytes, _: bytes) -> bytes:
    return data[:20] + bytes((data[20] ^ 4,)) + data[21:]


def bit_of_a_key(data: bytes, _: bytes) -> bytes:
    return data[:256] + bytes((data[256] ^ 1,)) + data[257:]


def bit_of_a_value(data: bytes, _: bytes) -> bytes:
    return data[:-1] + bytes((data[-1] ^ 128,))


def a_row_short(data: bytes, _: bytes) -> bytes:
    return data[:-272]


def of_another_payload(data: bytes, other: bytes) -> bytes:
    return (data[:256] + 2 * other[256:])[: len(data)]


def of_another_scheme(data: bytes, _: bytes) -> bytes:
    return header_of(Scheme(seed=7)) + data[256:]


@pytest.mark.parametrize(
    "spoil", [bit_of_the_header, bit_of_a_key, bit_of_a_value, a_row_short, of_another_payload, of_another_scheme]
)
def test_signatures_that_are_not_of_the_shard(spoil: Callable[[bytes, bytes], bytes], job: Job) -> None:
    """Neither keys nor signatures are taken from a file that is damaged, or is of another payload or scheme: it is
    refused by name, or counts as none."""
    path, other = (Path(job.output_dir) / f"{stem}.sig" for stem in ("000001", "000000"))
    whole = path.read_bytes()
    wanted = [Some(1, np.arange(3)).wanted()]
    try:
        path.write_bytes(spoil(whole, other.read_bytes()))
        missing = unsigned_units(job, SETTINGS.scheme) == [1]
        reason = "no signatures by this scheme" if missing else "these are not the bytes .* remove it: it is made again"
        error = JobError if missing else VerificationError
        with pytest.raises(error, match=f"{path}: {reason}"):
            list(keys_of_units(job, KeysQuestion(settings=SETTINGS, units=[1])))
        with pytest.raises(error, match=f"{path}: {reason}"):
            list(signatures_of_units(job, SignaturesQuestion(scheme=SETTINGS.scheme, wanted=wanted)))
        path.unlink()
        assert unsigned_units(job, SETTINGS.scheme) == [1]
    finally:
        path.write_bytes(whole)
