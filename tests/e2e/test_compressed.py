"""A launch with --compress: the tokens of a raw one, on every host by one rank table, whatever reads them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shard.records.compression import RANKS_FILE
from shard.records.shards import read_shard
from shard.storage.stored import open_stored
from tests.support.fleet import DATASET, Fleet, running_fleet
from tests.support.jobs import write_web_corpus
from tests.support.oracle import bytes_encode, documents_of, expected

pytestmark = pytest.mark.ssh

HOSTS = {"localhost": 1, "beta": 1}
EOD = 256
FILES = 6


@pytest.fixture(scope="module")
def hub_directory(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> Path:
    directory = tmp_path_factory.mktemp("hub")
    write_web_corpus(directory / DATASET, [text[:2000] for text in documents], files=FILES)
    return directory


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, hub_directory: Path) -> Iterator[Fleet]:
    """This machine and a host over ssh; a tenth of the documents held out."""
    with running_fleet(tmp_path_factory.mktemp("fleet"), hub_directory, HOSTS, "--holdout-rate", "10%") as fleet:
        yield fleet


def test_compressed_run_has_the_tokens_of_a_raw_one(fleet: Fleet, hub_directory: Path) -> None:
    """Both hosts write by the table that the launcher has made; run, resume, verify, gather and export take the shards
    as they take raw ones; and what comes out is what the oracle says."""
    gathered = fleet.directory / "gathered"
    wishes = ("--compress=4", "--frame-tokens", "2048", "--gather-holdout", str(gathered), "--plain")
    for _ in range(2):
        done = fleet.launch(*wishes)
        assert done.returncode == 0, done.stdout + done.stderr
    assert fleet.unfinished() == []
    directories = [*fleet.directories()]
    assert len(directories) == 2 * len(HOSTS)
    tables = {(directory / RANKS_FILE).read_bytes() for _, directory in directories}
    assert len(tables) == 1
    verified = fleet.call("verify", f"runs/{fleet.run_id}")
    assert verified.returncode == 0, verified.stdout
    assert "verified: complete" in verified.stdout
    wanted = expected(documents_of(hub_directory / DATASET), bytes_encode, eod=EOD, rate="10%")
    for split in ("train", "holdout"):
        found: dict[int, list[list[int]]] = {}
        for directory in (directory for name, directory in directories if name == split):
            for shard in open_stored(directory).shards:
                assert shard.payload.suffix == ".zst"
                found[shard.record.unit] = [
                    block.tokens[start:end].tolist()
                    for block in shard.blocks()
                    for start, end in zip(block.offsets[:-1], block.offsets[1:], strict=True)
                ]
        assert [list(d) for d in wanted[split]] == [document for unit in sorted(found) for document in found[unit]]
    here = open_stored(gathered)
    assert here.documents == len(wanted["holdout"])
    for _, directory in (item for item in directories if item[0] == "holdout"):
        for path in directory.glob("0*"):
            assert (gathered / path.name).read_bytes() == path.read_bytes()
    out = fleet.directory / "out"
    exported = fleet.call("export", str(gathered), "--format", "olmo", "--to", str(out))
    assert exported.returncode == 0, exported.stderr
    assert sum(path.stat().st_size for path in out.rglob("*.npy")) == 2 * here.tokens
    elsewhere = ("--output-dir", f"~/{fleet.base}/raw", "--holdout-dir", f"~/{fleet.base}/raw-holdout")
    again = fleet.launch("--plain", *elsewhere)
    assert again.returncode == 0, again.stderr
    for home in fleet.homes.values():
        for raw in (home / fleet.base / "raw").glob("0*.json"):
            ours = next(
                read_shard(directory, raw.stem)
                for name, directory in directories
                if name == "train" and (directory / raw.name).exists()
            )
            assert ours.payload_sha256 == read_shard(raw.parent, raw.stem).payload_sha256
