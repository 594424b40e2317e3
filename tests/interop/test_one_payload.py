"""One launch, four trainers: `launch --for megatron,nanogpt,datatrove,olmo` over real text, a payload once on the disk.

Layout, in --output-dir: 000012.bin, .idx (Megatron's pair, nanoGPT's file); 000012.ds, .ds.index, .ds.metadata;
000012.npy, .csv.gz. Payload, .ds and .npy are one file under three names.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from shard.tokenizer.ranks import RANK_FILES
from tests.support.fleet import DATASET, running_fleet
from tests.support.jobs import write_sample
from tests.support.oracle import Documents, expected, tiktoken_encode
from tests.support.readers import read_by, windows
from tests.support.rules import nanogpt_batch
from tests.support.text import UnavailableError, rank_file

EOD, RATE, LENGTH = 50256, "10%", 2048
PAYLOADS = (".bin", ".ds", ".npy")
SIDECARS = (".idx", ".ds.index", ".ds.metadata", ".csv.gz")


@dataclass(frozen=True)
class Launched:
    """What one launch has left."""

    directories: dict[str, Path]
    """By split."""
    files: dict[str, list[Documents]]
    """Split → the documents of every unit, by tiktoken."""


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """One host, two ranks, ten files of real text."""
    try:
        ranks = rank_file("r50k_base")
    except UnavailableError as error:
        pytest.skip(str(error))
    root = tmp_path_factory.mktemp("one-payload")
    cache = root / "tiktoken"
    cache.mkdir()
    (cache / RANK_FILES["r50k_base"].cache_name).write_bytes(ranks)
    text = root / "hub" / DATASET
    write_sample(text)
    encode = tiktoken_encode("r50k_base", cache)
    options = ("--tokenizer", "r50k_base", "--holdout-rate", RATE, "--for", "megatron,nanogpt,datatrove,olmo")
    with running_fleet(root / "fleet", root / "hub", {"localhost": 2}, *options, pdsh=False) as fleet:
        fleet.environment["TIKTOKEN_CACHE_DIR"] = str(cache)
        done = fleet.launch(timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        by_file = [
            expected(pq.read_table(path, columns=["text"])["text"].to_pylist(), encode, eod=EOD, rate=RATE)
            for path in sorted(text.rglob("*.parquet"))
        ]
        yield Launched(
            directories=dict(fleet.directories()),
            files={split: [found[split] for found in by_file] for split in ("train", "holdout")},
        )


@pytest.mark.parametrize("split", ["train", "holdout"])
def test_a_payload_is_once_on_disk(split: str, launched: Launched, capsys: pytest.CaptureFixture[str]) -> None:
    """Every payload is one inode with three names; what stands beside it is small. The counts are printed."""
    directory = launched.directories[split]
    payloads = sorted(directory.glob("[0-9]*.bin"))
    assert len(payloads) == len(launched.files[split])
    found = [[payload.with_suffix(suffix).stat() for suffix in PAYLOADS] for payload in payloads]
    for payload, stats in zip(payloads, found, strict=True):
        assert len({stat.st_ino for stat in stats}) == 1, payload
        assert {stat.st_nlink for stat in stats} == {3}, payload
    tokens = sum(stats[0].st_size for stats in found) // 2
    beside = sum(payload.with_suffix(suffix).stat().st_size for payload in payloads for suffix in SIDECARS)
    assert beside < 0.1 * 2 * tokens
    # Every inode once, as `du` counts.
    whole = {stat.st_ino: stat.st_size for path in directory.iterdir() if (stat := path.stat()) and path.is_file()}
    with capsys.disabled():
        links = sorted({stat.st_nlink for stats in found for stat in stats})
        print(
            f"\n{split}: {len(payloads)} payloads under {', '.join(PAYLOADS)}, link counts {links}; {tokens:,} tokens, "
            f"{sum(whole.values()):,} bytes of files, {sum(whole.values()) / tokens:.3f} a token"
        )
    assert sum(whole.values()) < 2.2 * tokens


@pytest.mark.parametrize("split", ["train", "holdout"])
def test_megatron(split: str, launched: Launched, tmp_path: Path) -> None:
    """IndexedDataset gives every document of every pair; its builder writes the same bytes."""
    found = read_by("megatron", launched.directories[split], tmp_path, "uint16", LENGTH, EOD)
    assert found.samples == [document for file in launched.files[split] for document in file]
    assert set(found.checks.values()) == {True}


@pytest.mark.parametrize("name", ["datatrove", "olmo"])
def test_windows_of_files(name: str, launched: Launched, tmp_path: Path) -> None:
    """DatatroveFolderDataset and NumpyFSLDataset give the windows of every file, and their tables are right."""
    found = read_by(name, launched.directories["train"], tmp_path, "uint16", LENGTH, EOD)
    assert found.samples == [window for file in launched.files["train"] for window in windows(file, LENGTH)]
    assert set(found.checks.values()) == {True}


def test_nanogpt(launched: Launched) -> None:
    """Any payload serves as nanoGPT's train.bin: its windows anywhere are those of the documents in a row."""
    payloads = sorted(launched.directories["train"].glob("[0-9]*.bin"))
    for payload, documents in zip(payloads, launched.files["train"], strict=True):
        stream = np.array([token for document in documents for token in document])
        assert np.array_equal(np.fromfile(payload, dtype="<u2"), stream)
        starts, inputs, labels = nanogpt_batch(payload, 16, 1024, np.random.default_rng(0))
        assert all(np.array_equal(row, stream[start : start + 1024]) for start, row in zip(starts, inputs, strict=True))
        assert np.array_equal(labels[:, :-1], inputs[:, 1:])
