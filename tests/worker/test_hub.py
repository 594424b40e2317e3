"""shard/source/hub.py, download.py and patience.py against the real Hub server, over loopback."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shard.errors import SourceChangedError, SourceError, SourceReadError
from shard.records.job import Dataset
from shard.records.options import Options
from shard.records.unit import Unit
from shard.source.download import Scratch
from shard.source.hub import HubFile
from shard.source.opened import open_unit
from tests.support.batches import documents_of
from tests.support.hub import RunningHub, running_hub
from tests.support.jobs import QUICK, hub_dataset, hub_units, write_corpus

FOOTER = 64 << 10
"""Bytes of the first request for a file."""
IMPATIENT = Options(retry_seconds=1.0, stall_seconds=0.7)


@dataclass(frozen=True)
class Repository:
    """A repository of one Parquet file, some times longer than its footer, that no other test uses."""

    hub: RunningHub
    name: str
    folder: Path
    rows: list[str]
    dataset: Dataset
    unit: Unit

    @property
    def where(self) -> str:
        """How messages name the file."""
        return f"{self.name}/{self.unit.path}"

    def counts(self) -> tuple[int, int]:
        """Resolves and range requests for the file so far."""
        counts = self.hub.stats()["paths"].get(self.where, {"resolve": 0, "cdn": 0})
        return counts["resolve"], counts["cdn"]

    def sent(self) -> int:
        """Bytes of the file sent so far."""
        counts = self.hub.stats()["paths"].get(self.where, {"cdn_bytes": 0})
        return int(counts["cdn_bytes"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def running(served: Path) -> Iterator[RunningHub]:
    with running_hub(served) as server:
        yield server


@pytest.fixture
def hub(running: RunningHub) -> Iterator[RunningHub]:
    yield running
    running.clear()


@pytest.fixture
def repo(hub: RunningHub, served: Path, documents: list[str]) -> Repository:
    name = f"some-owner/corpus-{len(list(served.glob('*/*')))}"
    folder = served / name
    rows = documents[:120]
    write_corpus(folder / "data", rows, group_rows=20, compression="none")
    dataset = hub_dataset(hub.endpoint, name)
    (unit,) = hub_units(dataset)
    return Repository(hub, name, folder, rows, dataset, unit)


def read(dataset: Dataset, unit: Unit, scratch: Path, options: Options = QUICK) -> list[str]:
    with open_unit(dataset, unit, options, Scratch(scratch), {}) as opened:
        return [document.decode() for batch in opened.texts for document in documents_of(batch)]


def sha256_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


# Streaming


def test_one_resolve_for_a_file(repo: Repository, tmp_path: Path) -> None:
    """A file costs one resolve, one request for its footer, and one for each span; nothing lands on the disk."""
    assert repo.rows == read(repo.dataset, repo.unit, tmp_path / "scratch")
    assert repo.counts() == (1, 2)
    assert repo.sent() <= repo.unit.size
    assert not (tmp_path / "scratch").exists()


def test_a_part_reads_its_own_bytes(repo: Repository, tmp_path: Path) -> None:
    """Parts of a file are read without reading the others' text."""
    found = []
    for unit in hub_units(repo.dataset, parts=3):
        before = repo.sent()
        found += read(repo.dataset, unit, tmp_path)
        assert repo.sent() - before < repo.unit.size * 0.6 + FOOTER
    assert repo.rows == found


def test_an_expired_location_is_asked_for_again(repo: Repository, tmp_path: Path) -> None:
    """When the location runs out between two requests, one more resolve is made and nothing fails or waits."""
    with open_unit(repo.dataset, repo.unit, QUICK, Scratch(tmp_path), {}):
        pass
    file = HubFile(repo.dataset, repo.unit, QUICK)
    file.fetch(0, 10)
    before = repo.counts()
    repo.hub.arm({"kind": "expire"})
    content = file.fetch(0, repo.unit.size)
    file.close()
    assert sha256_of(content) == repo.unit.content_id
    assert repo.counts() == (before[0] + 1, before[1] + 2)


def test_expiry_strikes_all_spans_at_once(repo: Repository) -> None:
    """However many requests find the location expired, it is asked for again once."""
    file = HubFile(repo.dataset, repo.unit, Options(spans_in_flight=8))
    file.fetch(0, 10)
    repo.hub.arm({"kind": "expire"})
    start = threading.Barrier(8)
    pieces: dict[int, bytes] = {}

    def fetch(index: int) -> None:
        start.wait()
        pieces[index] = file.fetch(repo.unit.size * index // 8, repo.unit.size * (index + 1) // 8)

    threads = [threading.Thread(target=fetch, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file.close()
    content = b"".join(pieces[index] for index in range(8))
    assert sha256_of(content) == repo.unit.content_id
    assert repo.counts()[0] == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "where": "cdn", "status": 503},
        {"kind": "status", "where": "resolve", "status": 503},
        {"kind": "status", "where": "cdn", "status": 429, "headers": {"RateLimit": '"resolvers";r=0;t=1'}},
        {"kind": "status", "where": "resolve", "status": 429, "headers": {"RateLimit": '"resolvers";r=0;t=1'}},
        {"kind": "status", "where": "cdn", "status": 429, "headers": {"Retry-After": "1"}},
        {"kind": "cut", "after": 1000},
        {"kind": "cut", "after": 0},
        {"kind": "stall", "after": 1000, "seconds": 3600},
    ],
    ids=lambda fault: "-".join(str(fault[key]) for key in ("kind", "where", "status", "after") if key in fault),
)
def test_faults_that_pass(fault: dict[str, Any], repo: Repository, tmp_path: Path) -> None:
    """A limit, an overload, a cut and a stall are waited for, and the documents are the same."""
    repo.hub.arm(fault)
    assert repo.rows == read(repo.dataset, repo.unit, tmp_path, Options(stall_seconds=1.0, retry_seconds=60.0))
    assert repo.hub.stats()["faults_left"] == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "where": "cdn", "status": 503},
        {"kind": "status", "where": "resolve", "status": 500},
        {"kind": "cut", "after": 100},
        {"kind": "stall", "after": 100, "seconds": 3600},
        {"kind": "status", "where": "cdn", "status": 403},
    ],
    ids=["overload", "resolve", "cut", "stall", "refused"],
)
def test_patience_ends(fault: dict[str, Any], repo: Repository, tmp_path: Path) -> None:
    """A fault that does not pass within `retry_seconds` is an error that names the file; a later attempt may do."""
    repo.hub.arm({**fault, "times": None})
    with pytest.raises(SourceReadError, match=rf"{repo.where}: given up after 1 s of retries") as caught:
        read(repo.dataset, repo.unit, tmp_path, IMPATIENT)
    assert caught.value.retryable


def test_another_etag_is_another_file(repo: Repository, tmp_path: Path) -> None:
    """When the ETag changes between two requests for a file, its bytes are not mixed."""
    with open_unit(repo.dataset, repo.unit, QUICK, Scratch(tmp_path), {}):
        pass
    file = HubFile(repo.dataset, repo.unit, QUICK)
    file.fetch(0, 10)
    repo.hub.arm({"kind": "etag", "path": repo.where})
    with pytest.raises(SourceChangedError, match=rf"{repo.where}: changed while it was read") as caught:
        file.fetch(10, 20)
    file.close()
    assert not caught.value.retryable


def test_another_etag_in_the_midst_of_reading(repo: Repository, tmp_path: Path) -> None:
    """The same, through pyarrow: the error is the one that was raised, not one about Parquet."""
    with open_unit(repo.dataset, repo.unit, QUICK, Scratch(tmp_path), {}) as opened:
        pass
    repo.hub.arm({"kind": "etag", "path": repo.where})  # strikes the footer; the spans then have the true one
    with (
        pytest.raises(SourceChangedError, match="changed while it was read"),
        open_unit(repo.dataset, repo.unit, QUICK, Scratch(tmp_path), {}) as opened,
    ):
        list(opened.texts)


@pytest.mark.parametrize("fetch", ["stream", "download"])
def test_a_shorter_file(fetch: Any, repo: Repository, tmp_path: Path) -> None:
    """A file served shorter than planned is an error, not fewer documents."""
    repo.hub.arm({"kind": "truncate", "length": 1000, "times": None})
    with pytest.raises(SourceError, match=repo.where):
        read(repo.dataset, repo.unit, tmp_path / "scratch", Options(fetch=fetch, retry_seconds=2.0))


def test_content_that_is_not_the_planned(repo: Repository, tmp_path: Path) -> None:
    """A file whose hash or size the Hub gives otherwise than the plan is refused before a byte is read."""
    other = Unit(ordinal=0, path=repo.unit.path, size=repo.unit.size, content_id="sha256:" + "0" * 64)
    with pytest.raises(SourceChangedError, match="etag"):
        read(repo.dataset, other, tmp_path)
    longer = Unit(ordinal=0, path=repo.unit.path, size=repo.unit.size + 1, content_id=repo.unit.content_id)
    with pytest.raises(SourceChangedError, match="planned"):
        read(repo.dataset, longer, tmp_path)


def test_a_missing_file(repo: Repository, tmp_path: Path) -> None:
    """A file that is not there is an error at once, without retries."""
    gone = Unit(ordinal=0, path="data/gone.parquet", size=10, content_id=repo.unit.content_id)
    with pytest.raises(SourceError, match=r"gone\.parquet") as caught:
        read(repo.dataset, gone, tmp_path, Options(retry_seconds=600.0))
    assert not caught.value.retryable


@pytest.mark.parametrize("fetch", ["stream", "download"])
@pytest.mark.parametrize("access", [{"private": True}, {"gated": True}], ids=["private", "gated"])
def test_closed_repositories(
    fetch: Any, access: dict[str, bool], repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a token a private or gated repository is read; without, that is an error at once."""
    (repo.folder / ".hub.json").write_text(json.dumps({**access, "tokens": ["hf_good"]}))
    options = Options(fetch=fetch, retry_seconds=600.0)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert repo.rows == read(repo.dataset, repo.unit, tmp_path / "scratch", options)
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    with pytest.raises(SourceError, match=repo.where) as caught:
        read(repo.dataset, repo.unit, tmp_path / "other", options)
    assert not caught.value.retryable


def test_names_with_odd_characters(repo: Repository, tmp_path: Path) -> None:
    """Quotes, spaces, dollars, percents and other scripts in a path reach the Hub as they are."""
    odd = "odd $(touch x) \"quoted\" 'name' #1?%41 ünï–中.parquet"
    (repo.folder / repo.unit.path).rename(repo.folder / odd)
    dataset = hub_dataset(repo.hub.endpoint, repo.name)
    (unit,) = hub_units(dataset)
    assert unit.path == odd
    assert repo.rows == read(dataset, unit, tmp_path / "scratch")
    assert repo.rows == read(dataset, unit, tmp_path / "scratch", Options(fetch="download"))


# Downloading


def test_download(repo: Repository, tmp_path: Path) -> None:
    """Parts of one file download it once; another file takes its place; clearing leaves nothing."""
    first, second = hub_units(repo.dataset, parts=2)
    scratch = Scratch(tmp_path / "scratch")
    found = []
    for unit in (first, second):
        with open_unit(repo.dataset, unit, Options(fetch="download"), scratch, {}) as opened:
            found += [document.decode() for batch in opened.texts for document in documents_of(batch)]
    assert repo.rows == found
    assert repo.counts() == (1, 1)
    scratch.clear()
    assert not (tmp_path / "scratch").exists()


def test_the_scratch_holds_one_file(repo: Repository, tmp_path: Path) -> None:
    """Fetching another file removes the one before."""
    write_corpus(repo.folder / "data", ["a", "b", "c"], files=3)
    dataset = hub_dataset(repo.hub.endpoint, repo.name)
    scratch = Scratch(tmp_path / "scratch")
    for unit in hub_units(dataset):
        path = scratch.fetch(dataset, unit, QUICK)
        assert [path] == list((tmp_path / "scratch").rglob("*.parquet"))


def test_damaged_download(repo: Repository, tmp_path: Path) -> None:
    """Bytes that do not have the LFS sha256 are refused and removed; another attempt gets the true ones."""
    repo.hub.arm({"kind": "corrupt", "offset": 1000, "length": 10})
    scratch = Scratch(tmp_path / "scratch")
    with pytest.raises(SourceReadError, match=rf"{repo.where}: downloaded bytes have sha256") as caught:
        scratch.fetch(repo.dataset, repo.unit, QUICK)
    assert caught.value.retryable
    assert not (tmp_path / "scratch").exists()
    path = scratch.fetch(repo.dataset, repo.unit, QUICK)
    assert sha256_of(path.read_bytes()) == repo.unit.content_id


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "cut", "after": 1000},
        {"kind": "status", "where": "resolve", "status": 503},
        {"kind": "status", "where": "cdn", "status": 503},
    ],
    ids=["cut", "resolve", "cdn"],
)
def test_download_survives_faults_that_pass(fault: dict[str, Any], repo: Repository, tmp_path: Path) -> None:
    """Downloads are as patient as streams."""
    repo.hub.arm(fault)
    assert repo.rows == read(
        repo.dataset, repo.unit, tmp_path / "scratch", Options(fetch="download", retry_seconds=60.0)
    )
    assert repo.hub.stats()["faults_left"] == 0


@pytest.mark.parametrize("status", [425, 403])
def test_download_when_the_client_gives_up(status: int, repo: Repository, tmp_path: Path) -> None:
    """A HEAD that the client has given up is asked again when its status passes, and is an error at once if not."""
    # Statuses that the client itself gives up at once.
    repo.hub.arm({"kind": "status", "status": status, "where": "resolve", "times": 2})
    options = Options(fetch="download", retry_seconds=30.0)
    if status == 425:
        assert repo.rows == read(repo.dataset, repo.unit, tmp_path / "scratch", options)
        assert repo.hub.stats()["faults_left"] == 0
    else:
        with pytest.raises(SourceError, match=repo.where) as caught:
            read(repo.dataset, repo.unit, tmp_path / "scratch", options)
        assert not caught.value.retryable
        assert repo.counts()[0] == 1


def test_parts_of_one_file_on_a_rank_cost_one_resolve(repo: Repository, tmp_path: Path) -> None:
    """A rank that does several parts of a file asks once where the file lies."""
    locations: dict[str, str] = {}
    rows = 0
    for unit in hub_units(repo.dataset, parts=3):
        with open_unit(repo.dataset, unit, QUICK, Scratch(tmp_path), locations) as opened:
            rows += sum(batch.rows for batch in opened.texts)
    assert len(repo.rows) == rows
    assert repo.counts()[0] == 1
