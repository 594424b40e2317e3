"""shard/loader/splits.py: parts of a directory by document."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shard.errors import LoaderError
from shard.loader import TokenDataset
from shard.loader.splits import split_range
from tests.support.stores import stream_of


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**9), st.lists(st.integers(0, 1000), min_size=1, max_size=5).filter(any))
def test_parts_cover_everything(documents: int, weights: list[int]) -> None:
    """Parts follow each other, cover all documents, and are within one document of their share."""
    spelled = ",".join(map(str, weights))
    parts = [split_range(f"{spelled}:{number}", documents) for number in range(len(weights))]
    assert [start for start, _ in parts] == [0, *(end for _, end in parts[:-1])]
    assert parts[-1][1] == documents
    for (start, end), weight in zip(parts, weights, strict=True):
        assert abs(end - start - documents * weight / sum(weights)) <= 1


def test_names() -> None:
    """Three parts have the names that Megatron gives them; weights may have a decimal point."""
    assert split_range("949,50,1:train", 1000) == (0, 949)
    assert split_range("949,50,1:valid", 1000) == (949, 999)
    assert split_range("949,50,1:test", 1000) == (999, 1000)
    assert split_range("0.9,0.1:1", 1000) == (900, 1000)


@pytest.mark.parametrize(
    "split", ["949,50,1", "949,50,1:dev", "949,50:test", "1,1:2", "a,b:0", "-1,2:0", "0,0:0", ":train", "", "1/0,1:0"]
)
def test_what_is_refused(split: str) -> None:
    """What is no split, or names no part of it, is refused with its text."""
    with pytest.raises(LoaderError, match="split '"):
        split_range(split, 10)


def test_a_split_of_a_directory(store: Path, shards: list[list[list[int]]]) -> None:
    """A split has the tokens of its documents and no other."""
    tokens, starts = stream_of(shards)
    found = []
    for part in ("train", "valid", "test"):
        dataset = TokenDataset(store, 16, split=f"8,1,1:{part}")
        batch = dataset.batch(np.arange(len(dataset)))
        first, last = dataset.document_range
        mine = tokens[starts[first] : starts[last]]
        assert batch.input_ids.reshape(-1).tolist() == mine[: batch.input_ids.size]
        assert dataset.tokens == len(mine)
        found.append(dataset.identity)
    assert len(set(found)) == 3
    with pytest.raises(LoaderError, match="no tokens in its 0 documents"):
        TokenDataset(store, 16, split="1,0:1")
