"""Signatures on a disk that fills up at any page: an error that names it, nothing half-written, and with room they are
made."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from shard.dedup.run import deduplicate, open_pair
from shard.records.dedup import Scheme, Settings
from shard.records.job import Holdout, Job
from shard.records.shards import ShardRecord
from shard.signatures.signing import sign_shard
from shard.signatures.text import token_bytes_of
from shard.signatures.unsigned import unsigned_units
from shard.storage.sidecars import complete_unit
from shard.storage.store import committed, directories_of
from shard.storage.stored import StoredShard
from shard.tokenizer.raw_bytes import ByteReference
from shard.verify.stores import verify
from tests.support.disks import filled_up, small_disk
from tests.support.jobs import make_job, write_corpus, write_job
from tests.support.plans import tree_of
from tests.support.supervisors import supervising
from tests.support.worker import commit, workplace, write_all

pytestmark = pytest.mark.root

SCHEME = Scheme()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents whose signatures are far larger than they are."""
    documents = [f"{number} in words that are few and short" for number in range(120)]
    return write_corpus(tmp_path_factory.mktemp("corpus"), documents)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "512k") as mount:
        yield mount


def signing(corpus: Path, output: Path, scheme: Scheme | None = SCHEME) -> Job:
    job = make_job(corpus, output, holdout=Holdout(rate=0.3))
    return replace(job, options=replace(job.options, signatures=scheme))


def require_same(made: Path, expected: Path) -> None:
    """Payloads and signatures are equal, and all of it is whole."""
    for pattern in ("0*.bin", "0*.sig"):
        for path in expected.rglob(pattern):
            assert (made / path.relative_to(expected)).read_bytes() == path.read_bytes()
    assert verify([made / "train", made / "holdout"]).findings == []


def sign(directory: Path, stem: str, record: ShardRecord) -> str:
    shard = StoredShard(directory, stem, record, "uint16", None)
    return sign_shard(shard, token_bytes_of(ByteReference(), 257, (0, 1)), SCHEME, directory / f"{stem}.sig")


def test_while_the_text_streams_by(corpus: Path, disk: Path, tmp_path: Path) -> None:
    """A unit that has no room for its signatures is not committed; with room it is, the same bytes."""
    write_all(signing(corpus, tmp_path / "roomy"))
    with workplace(signing(corpus, disk / "out")) as place:
        (unit,) = place.job.units

        def write() -> None:
            assert committed(place.job, place.directories, unit) is None
            commit(place, unit)

        assert filled_up(disk, write) > 8
    require_same(disk / "out", tmp_path / "roomy")


@pytest.mark.parametrize("earlier", [None, Scheme(seed=7)], ids=["none", "another scheme"])
def test_from_tokens(earlier: Scheme | None, corpus: Path, disk: Path, tmp_path: Path) -> None:
    """A committed unit whose signatures find no room stays committed; those by an earlier scheme are not taken for
    them."""
    write_all(signing(corpus, tmp_path / "roomy"))
    write_all(signing(corpus, disk / "out", earlier))
    job = signing(corpus, disk / "out")
    directories = directories_of(job)

    def complete() -> None:
        assert unsigned_units(job, SCHEME) == [0]
        assert complete_unit(job, directories, job.units[0], sign) is not None

    assert filled_up(disk, complete) > 4
    assert unsigned_units(job, SCHEME) == []
    require_same(disk / "out", tmp_path / "roomy")


def test_a_host_stops(corpus: Path, disk: Path, tmp_path: Path) -> None:
    """Ranks that find no room for signatures are no unit's fault: the host stops, says where, and leaves nothing
    unfinished; with room it makes them."""
    write_all(signing(corpus, disk / "out", None))
    job = write_job(signing(corpus, disk / "out"), tmp_path / "job")
    room = os.statvfs(disk)
    (disk / "ballast").write_bytes(bytes(room.f_bsize * (room.f_bavail - 2)))
    with supervising(job) as supervisor:
        done = supervisor.end()
        assert done is not None and (done.outcome, done.quarantined) == ("failed", [])
        assert re.match(f"{disk}/out/(train|holdout): No space left .* free space there and start again", done.reason)
    assert not [name for name in tree_of(disk) if name.endswith((".tmp", ".sig"))]
    (disk / "ballast").unlink()
    with supervising(job) as supervisor:
        done = supervisor.end()
        assert done is not None and done.outcome == "complete"
    assert verify([disk / "out" / "train", disk / "out" / "holdout"]).findings == []
    assert unsigned_units(signing(corpus, disk / "out"), SCHEME) == []


def test_on_one_machine(corpus: Path, tmp_path: Path) -> None:
    """In a working directory without room nothing is left of a file of signatures, or of keys, that was begun."""
    write_all(signing(corpus, tmp_path / "out", None))
    pair = open_pair([tmp_path / "out" / "train", tmp_path / "out" / "holdout"])
    with small_disk(tmp_path / "disk", "1m") as disk:
        assert filled_up(disk, lambda: deduplicate(pair, ByteReference(), Settings(), disk / "work")) > 20
        assert len(tree_of(disk / "work" / "removed")) == 2 and not (disk / "work" / "keys.duckdb").exists()
