"""Deduplication in little memory and on a full disk: the same result, or an error that says what helps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from provision.cli import cli
from shard.dedup.find import find_duplicates
from shard.dedup.lists import write_lists
from shard.dedup.pairs import KeyStore
from shard.dedup.parts import Duplicates, Take
from shard.errors import DiskFullError, JobError
from shard.records.dedup import Scheme, Settings
from shard.records.job import Holdout
from shard.signatures.minhash import band_keys
from tests.support.disks import small_disk
from tests.support.jobs import make_job, write_corpus
from tests.support.plans import tree_of
from tests.support.worker import write_all

LITTLE = 20_000_000
"""Bytes, with which one thread of DuckDB can just sort."""
ALIKE = 120_000
"""Documents of one page nearly, none of them quite: 2 million pairs a band, 33 MB."""
SETTINGS = Settings(scheme=Scheme(num_perm=8), bands=4, rows=2, threshold=0.7)


@dataclass(frozen=True)
class Made:
    """A part of documents that are made up."""

    signatures: NDArray[np.uint32]
    """[documents, permutations]"""
    keys: NDArray[np.uint64]
    """[documents, 2]"""
    settings: Settings = SETTINGS
    source: str = ""

    @property
    def documents(self) -> int:
        return len(self.keys)

    def exact(self) -> NDArray[np.uint64]:
        return self.keys

    def banded(self) -> NDArray[np.uint64]:
        return band_keys(self.signatures, self.settings)


@pytest.fixture(scope="module")
def parts() -> list[Made]:
    """A page that stands in ALIKE versions, each with a value of its own, among as many documents like no other, one in
    ten of which stands twice."""
    random = np.random.default_rng(7)
    signatures = random.integers(0, 1 << 32, (2 * ALIKE, SETTINGS.scheme.num_perm), dtype=np.uint32)
    signatures[::2] = signatures[0]
    signatures[::2, -1] = np.arange(ALIKE)
    keys = random.integers(0, 1 << 62, (2 * ALIKE, 2), dtype=np.uint64)
    again = np.arange(11, 2 * ALIKE, 20)
    signatures[again], keys[again] = signatures[again - 10], keys[again - 10]
    return [Made(*part) for part in zip(np.array_split(signatures, 7), np.array_split(keys, 7), strict=True)]


def found_in(parts: list[Made], work: Path, memory: int | None) -> Duplicates:
    work.mkdir()

    def fetch(wanted: Mapping[int, NDArray[np.int64]], take: Take) -> None:
        for number, positions in wanted.items():
            take(number, parts[number].signatures[positions].tobytes())

    found = find_duplicates(parts, parts[0].settings, work, fetch, memory)
    write_lists(found, [(f"{number:06d}.train", part.documents) for number, part in enumerate(parts)], work / "removed")
    return found


def test_same_lists_in_little_memory(parts: list[Made], tmp_path: Path) -> None:
    """A page of 120,000 versions is one document in the end, the same with a memory that its pairs do not fit in."""
    much, little = (found_in(parts, tmp_path / str(memory), memory) for memory in (None, LITTLE))
    assert tree_of(tmp_path / str(LITTLE)) == tree_of(tmp_path / "None")
    assert much.compared == little.compared > 16 * ALIKE
    versions = little.removed % 2 == 0
    assert np.count_nonzero(versions) == ALIKE - 1 and not little.kept[versions].any()
    assert len(little.removed) - np.count_nonzero(versions) == little.exact == ALIKE // 10


def test_pairs_spill(parts: list[Made], tmp_path: Path) -> None:
    """With little memory pairs lie in files beside the database while they are in use; they are the same pairs, though
    keys came in another order, and nothing is left of either."""
    keys = np.concatenate([part.banded() for part in parts])
    shuffled = np.random.default_rng(8).permutation(len(keys))
    found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for memory, order in ((None, np.arange(len(keys))), (LITTLE, shuffled)):
        with KeyStore(tmp_path, SETTINGS.bands, memory) as store:
            for part in np.array_split(order, 3):
                store.add_banded(part, keys[part])
            documents = store.candidate_documents()
            pairs = store.candidates()
            first = next(pairs)
            spilled = sum(path.stat().st_size for path in (tmp_path / "keys.tmp").glob("*.tmp"))
            assert (spilled > 10_000_000) == (memory is not None)
            found.append((documents, np.concatenate([first, *pairs])))
        assert not any(tmp_path.iterdir())
    assert all(np.array_equal(*both) for both in zip(*found, strict=True))


def test_too_little_memory(tmp_path: Path) -> None:
    """A limit with which nothing can be sorted is refused by the name of its option, and leaves no keys behind."""
    write_corpus(tmp_path / "corpus", ["one", "two", "three words here"], files=2)
    write_all(make_job(tmp_path / "corpus", tmp_path / "store", holdout=Holdout(rate=0.0)))
    command = ["dedup", str(tmp_path / "store" / "train"), str(tmp_path / "store" / "holdout")]
    refused = CliRunner().invoke(
        cli, [*command, "--to", str(tmp_path / "out"), "--memory", "300kB", "--processes", "1"]
    )
    assert isinstance(refused.exception, JobError) and refused.exception.exit_code == 2
    assert "--memory 300000: too little to sort keys in " in str(refused.exception)
    assert sorted(path.name for path in (tmp_path / "out_dedup").iterdir()) == ["signatures"]
    done = CliRunner().invoke(cli, [*command, "--to", str(tmp_path / "out"), "--memory", "64MiB", "--processes", "1"])
    assert done.exit_code == 0, done.output


@pytest.mark.root
@pytest.mark.parametrize(("megabytes", "memory"), [(8, None), (32, LITTLE)], ids=["keys", "spilled"])
def test_full_disk(parts: list[Made], tmp_path: Path, megabytes: int, memory: int | None) -> None:
    """A disk without room for the keys, or for what is sorted, is named; the keys are gone afterwards."""
    with small_disk(tmp_path / "disk", f"{megabytes}m") as disk:
        reason = "No space left" if memory is None else "failed to offload"
        with pytest.raises(DiskFullError, match=f"{disk}/work: no space for keys .*{reason}.* start again: signatures"):
            found_in(parts, disk / "work", memory)
        assert not any((disk / "work").iterdir())


@pytest.mark.root
def test_no_room_for_signatures(tmp_path: Path) -> None:
    """A disk with room for keys, but not for the signatures that are to be compared, is named as well: a file that is
    mapped and cannot grow would end the process without a word."""
    settings = Settings(scheme=Scheme(num_perm=1024), bands=1, rows=1)
    keys = np.arange(4000, dtype=np.uint64).reshape(2000, 2)
    alike = Made(np.ones((2000, 1024), dtype=np.uint32), keys, settings)
    with small_disk(tmp_path / "disk", "6m") as disk:
        with pytest.raises(DiskFullError, match=f"{disk}/work: No space left"):
            found_in([alike], disk / "work", None)
        assert not any((disk / "work").iterdir())
    assert len(found_in([alike], tmp_path / "roomy", None).removed) == 1999
