"""shard/dedup over directories: planted copies go and all else stays, whatever the order, the processes, or a kill."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from provision.cli import cli
from shard.dedup.pairs import KeyStore
from shard.dedup.run import Deduplication, at_work, deduplicate, open_pair
from shard.dedup.unitfile import UnitFile
from shard.errors import DirectoryInUseError, JobError, VerificationError
from shard.records.dedup import Scheme, Settings
from shard.records.job import Holdout
from shard.records.shards import read_shard
from shard.signatures.minhash import band_keys, signatures_of
from shard.signatures.words import words_of
from shard.storage.store import Directories
from shard.storage.stored import open_stored
from shard.tokenizer.raw_bytes import ByteReference
from shard.verify.stores import verify
from tests.support.batches import text_batch_of
from tests.support.copies import Planted, jaccard, planted
from tests.support.jobs import compressed_job, make_job, write_corpus
from tests.support.plans import tree_of
from tests.support.text import real_documents
from tests.support.worker import write_all

EACH = 300
SIGMAS = 4.0
SETTINGS = Settings()
SHORT = ["two words", "four words of it", "Two  words", "", " \n"]
"""Fewer words than a 5-gram has: the third equals the first. Empty rows are dropped by the source."""


@pytest.fixture(scope="module")
def copies() -> Planted:
    return planted(real_documents(1200), EACH)


@pytest.fixture(scope="module")
def store(copies: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents with planted copies and short ones as four units; `train` and `holdout` below the directory."""
    root = tmp_path_factory.mktemp("copies")
    write_corpus(root / "corpus", [*copies.documents, *SHORT], files=4)
    write_all(make_job(root / "corpus", root, holdout=Holdout(rate=0.05)))
    return root


@pytest.fixture(scope="module")
def found(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Deduplication:
    return found_in(store, tmp_path_factory.mktemp("work"))


def found_in(store: Path, work: Path, processes: int = 1, settings: Settings = SETTINGS) -> Deduplication:
    pair = open_pair([store / "holdout", store / "train"])
    return deduplicate(pair, ByteReference(), settings, work, processes=processes)


def written(found: Deduplication, root: Path, processes: int = 1) -> Directories:
    finals: Directories = {"train": root / "out", "holdout": root / "out_holdout"}
    found.write(finals, processes)
    return finals


def texts_of(files: tuple[UnitFile, ...]) -> list[str]:
    """All documents as numbered."""
    return [
        block.tokens[start : end - 1].astype(np.uint8).tobytes().decode()
        for file in files
        for block in file.shard.blocks()
        for start, end in zip(block.offsets[:-1], block.offsets[1:], strict=True)
    ]


def test_planted_copies(copies: Planted, found: Deduplication) -> None:
    """All exact copies are found; of what else goes at least 96 % is truly alike; recall is that of the S-curve."""
    texts = texts_of(found.files)
    number_of = {text: number for number, text in enumerate(texts)}
    pairs = list(zip(found.duplicates.removed.tolist(), found.duplicates.kept.tolist(), strict=True))
    together = {frozenset(pair) for pair in pairs}

    def taken(planted_pairs: list[tuple[int, int]]) -> int:
        return sum(frozenset(number_of[copies.documents[one]] for one in pair) in together for pair in planted_pairs)

    assert taken(copies.exact) == EACH
    similarities = [jaccard(texts[a], texts[b]) for a, b in pairs if len(texts[a]) > 100]
    near = [one for one in similarities if one < 1]
    assert sum(one >= SETTINGS.threshold for one in near) / len(near) >= 0.96
    true = [jaccard(*(copies.documents[one] for one in pair)) for pair in [*copies.near, *copies.mild]]
    # To share a band and to have most values in common favour each other, so both bounds are products of neither.
    least = sum(SETTINGS.compared(one) * SETTINGS.passed(one) for one in true)
    most = sum(min(SETTINGS.compared(one), SETTINGS.passed(one)) for one in true)
    error = SIGMAS * most**0.5
    assert least - error <= taken([*copies.near, *copies.mild]) <= most + error
    assert taken(copies.near) > 0.85 * EACH and taken(copies.mild) < 0.1 * EACH


def test_pairs_compared_follow_the_curve(copies: Planted, tmp_path: Path) -> None:
    """Of planted pairs as many share a band as the S-curve says, within four standard deviations of that number."""
    signatures = signatures_of(words_of(text_batch_of(copies.documents)), SETTINGS.scheme)
    keys = band_keys(signatures, SETTINGS)
    shuffled = np.random.default_rng(3).permutation(len(keys))
    compared = []
    for number, order in enumerate((np.arange(len(keys)), shuffled)):
        (tmp_path / str(number)).mkdir()
        with KeyStore(tmp_path / str(number), SETTINGS.bands) as keyed:
            for part in np.array_split(order, 3):
                keyed.add_banded(part.astype(np.int64), keys[part])
            documents = keyed.candidate_documents()
            compared.append(np.concatenate(list(keyed.candidates())))
        assert np.array_equal(documents, np.unique(compared[-1]))
    assert np.array_equal(*compared)
    together = set(map(tuple, compared[0].tolist()))
    planted_pairs = [*copies.near, *copies.mild]
    odds = np.array([SETTINGS.compared(jaccard(*(copies.documents[one] for one in pair))) for pair in planted_pairs])
    hits = sum((min(pair), max(pair)) in together for pair in planted_pairs)
    assert abs(hits - odds.sum()) <= SIGMAS * np.sqrt((odds * (1 - odds)).sum())


def test_large_groups_stay_cheap(tmp_path: Path) -> None:
    """In a group of a thousand documents everyone meets the first and its neighbours, not everyone else."""
    keys = np.zeros((1000, 1), dtype=np.uint64)
    with KeyStore(tmp_path, 1) as keyed:
        keyed.add_banded(np.arange(1000), keys)
        assert len(keyed.candidate_documents()) == 1000
        pairs = np.concatenate(list(keyed.candidates()))
    distance = pairs[:, 1] - pairs[:, 0]
    assert len(pairs) < 17_000 and set(pairs[pairs[:, 0] == 0][:, 1].tolist()) == set(range(1, 1000))
    assert distance[pairs[:, 0] > 0].max() == 16


def test_result_is_whole(found: Deduplication, store: Path, tmp_path: Path) -> None:
    """The new directories hold what stays, in its order, once; every row is accounted for, removed ones as dropped."""
    finals = written(found, tmp_path)
    report = verify(list(finals.values()))
    assert report.ok and report.coverage.complete, report.findings
    texts, removed = texts_of(found.files), set(found.duplicates.removed.tolist())
    shards = [shard for stored in open_pair(list(finals.values())).values() for shard in stored.shards]
    shards.sort(key=lambda shard: (shard.stem, shard.record.split == "holdout"))
    kept = texts_of(tuple(UnitFile(shard, Path(), SETTINGS, "") for shard in shards))
    assert kept == [text for number, text in enumerate(texts) if number not in removed]
    dropped = sum(shard.record.dropped.get("duplicate", 0) for shard in shards)
    assert dropped == len(removed)
    assert read_shard(finals["train"], "000000").source == read_shard(store / "train", "000000").source


def test_short_documents_survive(found: Deduplication) -> None:
    """What has too few words for an n-gram goes only when it equals another."""
    texts = texts_of(found.files)
    stays = [text for number, text in enumerate(texts) if number not in set(found.duplicates.removed.tolist())]
    assert stays.count("two words") + stays.count("Two  words") == 1
    assert "four words of it" in stays


def test_same_bytes_for_any_order_and_number(found: Deduplication, store: Path, tmp_path: Path) -> None:
    """Removal lists and directories are equal whether one process made all, two did, or two parties half each."""
    expected = tree_of(found.work / "removed")
    assert tree_of(found_in(store, tmp_path / "two", processes=2).work / "removed") == expected
    gathered = tmp_path / "gathered" / "signatures"
    gathered.mkdir(parents=True)
    for party in (0, 1):
        share = tmp_path / f"party{party}"
        for split in ("train", "holdout"):
            shutil.copytree(store / split, share / split)
            for shard in open_stored(share / split).shards:
                if int(shard.stem) % 2 != party:
                    for path in (share / split).glob(f"{shard.stem}.*"):
                        path.unlink()
        for path in (found_in(share, share / "work").work / "signatures").iterdir():
            shutil.copy(path, gathered)
    before = {path.name: path.stat().st_mtime_ns for path in gathered.iterdir()}
    again = found_in(store, tmp_path / "gathered")
    assert tree_of(again.work / "removed") == expected
    assert {path.name: path.stat().st_mtime_ns for path in gathered.iterdir()} == before  # none was made again
    for number, one in enumerate((found, again)):
        written(one, tmp_path / f"written{number}", processes=number + 1)
    assert shards_of(tmp_path / "written0") == shards_of(tmp_path / "written1")


def shards_of(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree_of(root).items() if not name.endswith(".lock")}


@pytest.mark.slow
def test_killed_at_every_stage(found: Deduplication, store: Path, tmp_path: Path) -> None:
    """SIGKILL while signatures are made, while pairs are sought, while directories are written: the next start goes on
    with the signatures there, and the directories are those of a run that nobody disturbed."""
    written(found, tmp_path / "expected")
    root = tmp_path / "killed"
    root.mkdir()
    command = [sys.executable, "-m", "provision", "dedup", store / "train", store / "holdout", "--to", root / "out"]
    command += ["--max-removed", "0.9"]
    signatures = root / "out_dedup" / "signatures"
    stages: list[Callable[[], bool]] = [
        lambda: any(signatures.glob("*.json")),
        lambda: (root / "out_dedup" / "keys.duckdb").exists(),
        lambda: any(root.glob(".out.*.tmp/0*.json")),
    ]
    first = 0
    for number, reached in enumerate(stages):
        processes = "2" if number == 0 else "1"  # the first in children of its own, which must not go on without it
        process = subprocess.Popen(
            [*map(str, command), "--processes", processes], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not reached() and process.poll() is None:
            os.sched_yield()
        process.kill()
        process.wait()
        if number == 0:
            first = min(path.stat().st_mtime_ns for path in signatures.glob("*.json"))
    shutil.rmtree(root / "out", ignore_errors=True)  # it may have been quicker than its killer
    shutil.rmtree(root / "out_holdout", ignore_errors=True)
    done = subprocess.run([*map(str, command), "--processes", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert min(path.stat().st_mtime_ns for path in signatures.glob("*.json")) == first
    assert tree_of(root / "out_dedup" / "removed") == tree_of(found.work / "removed")
    for name in ("out", "out_holdout"):
        assert shards_of(root / name) == shards_of(tmp_path / "expected" / name)
    assert sorted(path.name for path in root.iterdir()) == ["out", "out_dedup", "out_holdout"]


def test_command_says_first_and_guards(store: Path, tmp_path: Path) -> None:
    """The S-curve and what would go are printed; a dry run and too many duplicates write no directory."""
    command = ["dedup", str(store / "train"), str(store / "holdout"), "--to", str(tmp_path / "out"), "--processes", "1"]
    dry = CliRunner().invoke(cli, [*command, "--dry-run", "--max-removed", "1%"])
    assert dry.exit_code == 0, dry.output
    assert "8 bands of 8 rows" in dry.output and "0.9215" in dry.output
    assert " documents would go, " in dry.output and "301 equal to an earlier one" in dry.output
    refused = CliRunner().invoke(cli, [*command, "--kind", "exact", "--max-removed", "1%"])
    assert "more than --max-removed 1.00%" in str(refused.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out_dedup"]
    for split in ("train", "holdout"):
        shutil.copytree(store / split, tmp_path / "share" / split)
        (tmp_path / "share" / split / "000003.json").unlink()
    share = [str(tmp_path / "share" / split) for split in ("train", "holdout")]
    partial = CliRunner().invoke(cli, ["dedup", *share, *command[3:], "--kind", "exact", "--dry-run"])
    assert "note: 3 of the dataset's 4 units are here" in partial.output
    taken = CliRunner().invoke(cli, [*command[:-3], str(store), "--processes", "1"])
    assert "exists, and nothing is replaced" in str(taken.exception)


def test_signatures_of_others_are_made_anew(found: Deduplication, copies: Planted, tmp_path: Path) -> None:
    """Files of another payload, of other settings, or cut short are no commits for these."""
    write_corpus(tmp_path / "corpus", copies.documents[:60], files=4)
    write_all(make_job(tmp_path / "corpus", tmp_path / "store", holdout=Holdout(rate=0.05)))
    fresh = tree_of(found_in(tmp_path / "store", tmp_path / "fresh").work)
    signatures = tmp_path / "used" / "signatures"
    shutil.copytree(found.work / "signatures", signatures)
    # Files of shards that have no document now are not looked at.
    assert tree_of(found_in(tmp_path / "store", tmp_path / "used").work).items() >= fresh.items()
    found_in(tmp_path / "store", tmp_path / "used", settings=replace(SETTINGS, scheme=Scheme(seed=1)))
    assert tree_of(tmp_path / "used") != fresh
    for _ in range(2):  # first all are made again, of the old seed, then only the one that is cut short
        (signatures / "000001.train.sig").write_bytes(b"cut short")
        assert tree_of(found_in(tmp_path / "store", tmp_path / "used").work).items() >= fresh.items()


def test_nothing_to_remove(tmp_path: Path) -> None:
    """Directories without duplicates, one of them without any document, are written as they are."""
    write_corpus(tmp_path / "corpus", ["one", "two", "three words here"], files=2)
    write_all(make_job(tmp_path / "corpus", tmp_path / "store", holdout=Holdout(rate=0.0)))
    found = found_in(tmp_path / "store", tmp_path / "work")
    assert (len(found.duplicates.removed), found.duplicates.documents, found.duplicates.share) == (0, 3, 0.0)
    finals = written(found, tmp_path)
    for suffix in (".bin", ".idx"):
        before, after = (tree_of(directory) for directory in (tmp_path / "store" / "train", finals["train"]))
        assert {n: d for n, d in before.items() if n.endswith(suffix)} == {
            n: d for n, d in after.items() if n.endswith(suffix)
        }


def test_compressed_stays_compressed(copies: Planted, tmp_path: Path) -> None:
    """Directories of compressed shards become such directories, with their rank table."""
    write_corpus(tmp_path / "corpus", [*copies.documents[:40], *copies.documents[:10]], files=2)
    job = compressed_job(tmp_path / "corpus", tmp_path / "store", tmp_path / "ranks")
    write_all(job, tmp_path / "ranks")
    finals = written(found_in(tmp_path / "store", tmp_path / "work", processes=2), tmp_path, processes=2)
    report = verify(list(finals.values()))
    assert report.ok and report.coverage.complete, report.findings
    assert report.coverage.dropped >= 10


def test_what_is_refused(store: Path, tmp_path: Path) -> None:
    """One split alone, two datasets, settings that cannot be, two at work, and a damaged file of signatures."""
    with pytest.raises(JobError, match="one directory of train and one of holdout"):
        open_pair([store / "train", store / "train"])
    with pytest.raises(JobError, match="9 bands of 8 rows need 72 permutations"):
        replace(SETTINGS, bands=9)
    with at_work(tmp_path), pytest.raises(DirectoryInUseError, match="another deduplication"), at_work(tmp_path):
        pass
    exact = replace(SETTINGS, scheme=Scheme(kind="exact"))
    found = found_in(store, tmp_path, settings=exact)
    assert len(found.duplicates.removed) == found.duplicates.exact == EACH + 1
    damaged = tmp_path / "signatures" / "000000.train.sig"
    damaged.write_bytes(bytes(damaged.stat().st_size))
    with pytest.raises(VerificationError, match=r"000000\.train\.sig: these are not the bytes"):
        found_in(store, tmp_path, settings=exact)
