"""One launch for every trainer that reads the payload as it lies: four readers, one payload, the oracle's tokens."""

import csv
import gzip
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.support.fleet import DATASET, Fleet, running_fleet
from tests.support.jobs import write_web_corpus
from tests.support.oracle import Documents, bytes_encode, documents_of, expected, written

pytestmark = pytest.mark.slow

EOD = 256


@pytest.fixture(scope="module")
def hub_directory(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    directory = tmp_path_factory.mktemp("hub")
    write_web_corpus(directory / DATASET, [text[:2000] for text in documents], files=5)
    return directory


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, hub_directory: Path) -> Iterator[Fleet]:
    """This machine with two ranks; a tenth of the documents held out."""
    with running_fleet(
        tmp_path_factory.mktemp("fleet"), hub_directory, {"localhost": 2}, "--holdout-rate", "10%", pdsh=False
    ) as fleet:
        yield fleet


def payload_names(directory: Path, suffix: str) -> list[Path]:
    return sorted(path for path in directory.glob(f"[0-9]*.{suffix}") if path.stat().st_size)


def cut(tokens: np.ndarray, ends: list[int]) -> list[list[int]]:
    return [tokens[start:end].tolist() for start, end in pairwise([0, *ends])]


def by_end_of_document(directory: Path) -> list[list[int]]:
    """As nanoGPT's users find documents: one stream, cut behind each end-of-document id."""
    stream = np.concatenate([np.memmap(path, dtype=np.uint16, mode="r") for path in payload_names(directory, "bin")])
    return cut(stream, (np.flatnonzero(stream == EOD) + 1).tolist())


def by_datatrove(directory: Path) -> list[list[int]]:
    found = []
    for path in payload_names(directory, "ds"):
        name, count, _ = Path(f"{path}.metadata").read_text().split("\n")
        tokens = np.memmap(path, dtype={"2": "<u2", "4": "<u4"}[name.split("|")[1]], mode="r")
        assert len(tokens) == int(count)
        found += cut(tokens, np.fromfile(f"{path}.index", dtype="<u8").tolist())
    return found


def by_olmo(directory: Path) -> list[list[int]]:
    found = []
    for path in payload_names(directory, "npy"):
        tokens = np.memmap(path, dtype=np.uint16, mode="r")
        with gzip.open(path.with_suffix(".csv.gz"), "rt", newline="") as file:
            found += [tokens[int(row[0]) : int(row[1])].tolist() for row in csv.reader(file)]
    return found


def test_one_launch_serves_four_trainers(fleet: Fleet, hub_directory: Path) -> None:
    """After a launch for two trainers, and one more for all four that tokenizes nothing again, each reader finds
    exactly the tokens of the oracle, in files whose payload is there once."""
    done = fleet.launch("--for", "nanogpt,olmo", "--plain")
    assert done.returncode == 0, done.stderr
    before = {path: path.stat().st_ino for _, directory in fleet.directories() for path in directory.glob("*.bin")}
    again = fleet.launch("--for", "megatron,nanogpt,datatrove,olmo", "--plain")
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_ino for path in before} == before
    wanted: dict[str, Documents] = expected(documents_of(hub_directory / DATASET), bytes_encode, eod=EOD, rate="10%")
    for split, directory in fleet.directories():
        documents = [list(document) for document in wanted[split]]
        assert [list(document) for document in written([directory])] == documents
        assert by_end_of_document(directory) == by_datatrove(directory) == by_olmo(directory) == documents
        assert all(path.stat().st_nlink == 3 for path in payload_names(directory, "bin"))
    assert fleet.verify_committed() == 5
    assert fleet.unfinished() == []


def test_what_cannot_be_read_is_refused_at_once(fleet: Fleet) -> None:
    """Planning for a trainer that could not read the tokens ends with what to do about it."""
    done = fleet.run(*fleet.argv("plan", "--for", "olmo", "--eod", "none"))
    assert done.returncode == 2
    assert "--for olmo: it finds documents by their end-of-document id" in done.stderr
