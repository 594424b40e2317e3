"""DataLoader.locate: from a step back to documents."""

from itertools import pairwise
from pathlib import Path

import pytest

from shard.loader import DataLoader, TokenDataset
from shard.storage.stored import open_stored
from shard.storage.summary import document_at
from tests.support.stores import stream_of


@pytest.mark.parametrize("packing", ["concat", "bos_aligned", "best_fit", "pad"])
def test_pieces_are_what_the_batch_has(store: Path, tmp_path: Path, packing: str) -> None:
    """Each piece that is located, taken from its document, is what stands in those slots of the batch; together they
    are all slots but padding. Any rank's batch can be asked for."""
    dataset = TokenDataset(store, 64, packing=packing, cache_dir=tmp_path)
    stored = open_stored(store)
    loader = DataLoader(dataset, 12, dp_rank=1, dp_world_size=2, seed=4)
    other = DataLoader(dataset, 12, dp_rank=0, dp_world_size=2, seed=4)
    assert loader.locate(0, rank=0) == other.locate(0) != loader.locate(0)
    for step in (0, len(loader) - 1, len(loader)):
        batch = loader.batch_at(step)
        covered = 0
        for piece in loader.locate(step):
            document = document_at(stored, piece.number)
            first, last = piece.slots
            assert document.tokens[slice(*piece.tokens)].tolist() == batch.input_ids[piece.row, first:last].tolist()
            assert (document.shard.stem, document.position) == (piece.shard, piece.document)
            assert piece.source == f"part-{int(piece.shard)}"
            assert piece.source_rows == (0, document.shard.record.documents)
            assert piece.directory == store
            covered += last - first
        assert covered == (batch.document_ids >= 0).sum()


def test_a_window_over_several_shards(store: Path, shards: list[list[list[int]]]) -> None:
    """A window that goes over the ends of shards is located in all of them."""
    tokens, starts = stream_of(shards)
    loader = DataLoader(TokenDataset(store, len(tokens) - 1), 1)
    found = loader.locate(0)
    lengths = [end - start for start, end in pairwise(starts)]
    assert [piece.number for piece in found] == list(range(len(lengths)))
    assert [piece.tokens for piece in found[:-1]] == [(0, length) for length in lengths[:-1]]
    assert {piece.shard for piece in found} == {"000000", "000001", "000003", "000004"}
