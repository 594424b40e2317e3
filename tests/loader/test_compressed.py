"""Compressed directories: the batches of raw ones."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shard.errors import ShardChangedError
from shard.loader import DataLoader, TokenDataset
from tests.support.deadline import deadline
from tests.support.jobs import compressed_job, make_job, write_corpus
from tests.support.worker import write_all

CONTEXT = 300


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, documents: list[str]) -> tuple[Path, Path]:
    """The same documents raw and compressed, in frames of 1,024 tokens."""
    root = tmp_path_factory.mktemp("pair")
    corpus = write_corpus(root / "corpus", documents[:60], files=3)
    raw = make_job(corpus, root / "raw")
    write_all(raw)
    compressed = compressed_job(corpus, root / "compressed", root / "table", frame_tokens=1024)
    write_all(compressed, root / "table")
    return Path(raw.output_dir), Path(compressed.output_dir)


@pytest.mark.parametrize("packing", ["concat", "best_fit"])
def test_batches_of_raw_shards(pair: tuple[Path, Path], tmp_path: Path, packing: str) -> None:
    """An epoch from compressed shards is byte for byte that from raw ones: in their order, over ends of frames and
    shards, with the same documents."""
    raw, compressed = (
        DataLoader(TokenDataset(path, CONTEXT, packing=packing, cache_dir=tmp_path), 16, seed=2) for path in pair
    )
    steps = 0
    for one, other in zip(raw, compressed, strict=True):
        assert one.tokens.tobytes() == other.tokens.tobytes()
        assert one.cu_seqlens.tobytes() == other.cu_seqlens.tobytes()
        steps += 1
    assert steps == len(raw) > 20


def test_it_is_compressed(pair: tuple[Path, Path]) -> None:
    """What is read here has frames, and no raw payload beside them."""
    assert sorted({path.suffix for path in pair[1].glob("[0-9]*")}) == [".idx", ".json", ".zst"]


@pytest.fixture
def own(pair: tuple[Path, Path], tmp_path: Path) -> Path:
    """A compressed copy to be damaged."""
    shutil.copytree(pair[1], tmp_path / "own")
    return tmp_path / "own"


def read_on(path: Path, damage: Callable[[], None] = lambda: None) -> None:
    """Until something goes wrong, epoch after epoch; the damage is done after three batches."""
    with deadline(60), DataLoader(TokenDataset(path, CONTEXT), 16, prefetch_factor=1) as loader:
        while True:
            for batch in loader:
                if batch.step == 2:
                    damage()


def test_a_shard_that_is_cut_or_damaged(own: Path) -> None:
    """A compressed shard that is cut short, or damaged where its size stays, is named, and nothing hangs."""
    path = own / "000001.zst"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ShardChangedError, match=r"000001\.zst: frame \d+: .*run 'shardfleet verify'"):
        read_on(own)
    os.truncate(path, 100)
    with pytest.raises(ShardChangedError, match=r"000001\.zst: 100 bytes, its record says"):
        read_on(own)


def test_a_shard_that_is_cut_under_a_running_loader(own: Path) -> None:
    """A compressed shard that loses its end while it is read is named."""
    with pytest.raises(ShardChangedError, match=r"000001\.zst: "):
        read_on(own, lambda: os.truncate(own / "000001.zst", 100))


def test_samples_alone(pair: tuple[Path, Path]) -> None:
    """Samples that are asked for alone, in any order, are the raw ones, too."""
    raw, compressed = (TokenDataset(path, CONTEXT) for path in pair)
    samples = np.random.default_rng(0).permutation(len(raw))[:50]
    for sample in samples.tolist():
        assert np.array_equal(raw[sample]["input_ids"], compressed[sample]["input_ids"])
