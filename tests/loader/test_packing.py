"""Packings with a pack index: what rows are made of, and the file it is kept in."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shard.errors import LoaderError
from shard.loader import Batch, BatchOptions, DataLoader, TokenDataset
from shard.loader.packindex import GOES_ON, Rows
from shard.loader.packing import PACKINGS, cut
from tests.support.stores import EOD, stream_of, write_store

CONTEXT = 64
Shards = list[list[list[int]]]

DOCUMENTS = st.lists(st.integers(0, 150), max_size=40)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "packs"


def every_sample(dataset: TokenDataset, **options: object) -> Batch:
    return dataset.batch(np.arange(len(dataset)), BatchOptions(**options))  # type: ignore[arg-type]


def packed(name: str, lengths: list[int], multiple: int = 1) -> tuple[Rows, np.ndarray]:
    starts = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    rows = PACKINGS[name](cut(starts, CONTEXT), CONTEXT, multiple)
    return rows, np.repeat(np.arange(len(rows.counts)), rows.counts)


@pytest.mark.parametrize("name", sorted(PACKINGS))
@settings(deadline=None, max_examples=60)
@given(lengths=DOCUMENTS, multiple=st.sampled_from([1, 4, 16]))
def test_rows_hold_every_token_once(name: str, lengths: list[int], multiple: int) -> None:
    """Every token of every document lies in one row, at a slot of its own; documents start at multiples; only those
    longer than the context are cut, into full rows and a rest."""
    rows, row = packed(name, lengths, multiple)
    pieces = rows.pieces
    begins, ends = pieces["column"], pieces["column"] + pieces["length"]
    assert (begins % multiple == 0).all()
    assert (ends <= CONTEXT).all()
    same_row = row[1:] == row[:-1]
    assert (begins[1:] >= ends[:-1])[same_row].all()
    places = [
        place
        for first, length in zip(pieces["place"] >> 2, pieces["length"], strict=True)
        for place in range(first, first + length)
    ]
    assert sorted(places) == list(range(sum(lengths)))
    assert len(pieces) == sum(-(-length // CONTEXT) for length in lengths)
    assert (pieces["length"][pieces["place"] & GOES_ON > 0] == CONTEXT).all()


@pytest.mark.parametrize("name", sorted(PACKINGS))
def test_golden_rows(name: str) -> None:
    """Rows are these in every version: a run that was begun can always be resumed."""
    rows, _ = packed(name, [30, 5, 64, 200, 1, 0, 33, 31, 64, 63, 2, 17])
    found = np.split(rows.pieces, np.cumsum(rows.counts)[:-1])
    placed = [list(zip((row["place"] >> 2).tolist(), row["column"].tolist(), strict=True)) for row in found]
    assert placed == GOLDEN[name]


@settings(deadline=None, max_examples=60)
@given(lengths=DOCUMENTS)
def test_pad_leaves_room_between_documents(lengths: list[int]) -> None:
    """Rows of `pad` are in dataset order, with padding between documents; a document goes into the next row only when
    it does not fit."""
    rows, row = packed("pad", lengths)
    pieces = rows.pieces
    assert (np.diff(pieces["place"]) > 0).all()
    ends = pieces["column"] + pieces["length"]
    same_row = row[1:] == row[:-1]
    assert (pieces["column"][1:][same_row] == ends[:-1][same_row] + 1).all()
    assert (ends[:-1][~same_row] + 1 + pieces["length"][1:][~same_row] > CONTEXT).all()


@settings(deadline=None, max_examples=60)
@given(lengths=st.lists(st.integers(1, CONTEXT), min_size=1, max_size=60))
def test_best_fit_is_tight(lengths: list[int]) -> None:
    """No two rows of best_fit would fit into one."""
    rows, row = packed("best_fit", lengths)
    filled = np.sort(np.bincount(row, weights=rows.pieces["length"]))
    assert len(filled) == 1 or filled[0] + filled[1] > CONTEXT


@pytest.mark.parametrize("name", ["best_fit", "pad"])
@pytest.mark.parametrize("wide", [False, True])
def test_batches_of_whole_documents(tmp_path: Path, cache: Path, shards: Shards, name: str, wide: bool) -> None:
    """Each segment of a batch is a document, or a part of a long one: inputs, labels up to its end, positions, padding
    without labels; all tokens are there once."""
    store = write_store(tmp_path, shards, wide=wide)
    tokens, starts = stream_of(shards)
    dataset = TokenDataset(store, CONTEXT, packing=name, cache_dir=cache)
    assert dataset.left_out == 0
    batch = every_sample(dataset, pad_id=7)
    segments = batch.segments
    assert segments.filled is not None
    inputs, labels = batch.input_ids.reshape(-1), batch.labels.reshape(-1)
    padding = batch.document_ids.reshape(-1) == -1
    assert (inputs[padding] == 7).all()
    assert (labels[padding] == -100).all()
    assert np.count_nonzero(~padding) == len(tokens)
    found: list[tuple[int, ...]] = []
    for start, filled, ends in zip(segments.starts, segments.filled, segments.ends_document, strict=True):
        piece = inputs[start : start + filled].tolist()
        found.append(tuple(piece))
        assert batch.position_ids.reshape(-1)[start : start + filled].tolist() == list(range(filled))
        assert labels[start : start + filled - 1].tolist() == piece[1:]
        assert (piece[-1] == EOD) == bool(ends)
        assert (labels[start + filled - 1] == -100) == bool(ends), (
            "a document that goes on has a label for its last token"
        )
    ended = segments.ends_document[np.append(np.flatnonzero(segments.starts % CONTEXT == 0)[1:], 0) - 1]
    assert (batch.tokens[ended, -1] == 7).all(), "nothing is left from an earlier batch"
    documents = [tokens[start:end] for start, end in pairwise(starts)]
    expected = [tuple(one[at : at + CONTEXT]) for one in documents for at in range(0, len(one), CONTEXT)]
    assert sorted(found) == sorted(expected)
    rests = {tuple(one[at : at + CONTEXT]) for one in documents for at in range(CONTEXT, len(one), CONTEXT)}
    firsts = [piece for piece, start in zip(found, segments.starts, strict=True) if start % CONTEXT == 0]
    after = {
        tuple(one[at : at + CONTEXT]): one[at + CONTEXT]
        for one in documents
        for at in range(0, len(one) - CONTEXT, CONTEXT)
    }
    assert [after[piece] for piece, ends in zip(found, segments.ends_document, strict=True) if not ends] == labels[
        (segments.starts + segments.filled - 1)[~segments.ends_document]
    ].tolist(), "the label of a row's last token is the one that comes next in its document"
    assert batch.is_continuation.tolist() == [piece in rests for piece in firsts]
    assert np.array_equal(batch.loss_mask.reshape(-1), labels != -100)


def test_bos_aligned(store: Path, shards: Shards, cache: Path) -> None:
    """Every window begins with a document, windows share at most a boundary token, and each is the first that could
    follow the one before it."""
    tokens, starts = stream_of(shards)
    dataset = TokenDataset(store, CONTEXT, packing="bos_aligned", cache_dir=cache)
    batch = every_sample(dataset)
    expected, at = [], 0
    for start in sorted(set(starts)):
        if start >= at and start + CONTEXT < len(tokens):
            expected.append(tokens[start : start + CONTEXT + 1])
            at = start + CONTEXT
    assert batch.tokens.tolist() == expected
    assert not batch.is_continuation.any()
    assert dataset.left_out == len(tokens) - len(expected) * CONTEXT


@pytest.mark.parametrize("name", ["bos_aligned", "best_fit", "pad"])
def test_every_sample_once(store: Path, cache: Path, name: str) -> None:
    """Packed samples are given out once an epoch, like windows."""
    loader = DataLoader(TokenDataset(store, CONTEXT, packing=name, cache_dir=cache), 4)
    taken = [sample for batch in loader for sample in batch.samples.tolist()]
    assert len(taken) == len(set(taken)) > 100


def test_pad_documents_to(store: Path, cache: Path) -> None:
    """Documents can be made to begin at multiples of a number of slots."""
    dataset = TokenDataset(store, CONTEXT, packing="best_fit", pad_documents_to=16, cache_dir=cache)
    batch = every_sample(dataset)
    assert (batch.cu_seqlens % 16 == 0).all()
    with pytest.raises(LoaderError, match="pad_documents_to 10: does not divide context_length 64"):
        TokenDataset(store, CONTEXT, packing="best_fit", pad_documents_to=10, cache_dir=cache)
    with pytest.raises(LoaderError, match="packing 'concat' has no padding"):
        TokenDataset(store, CONTEXT, pad_documents_to=16)


def test_the_index_is_made_once(store: Path, cache: Path) -> None:
    """An index is written whole and used again; what decides it names it; several that want it at once agree; a damaged
    one is made again."""
    with ThreadPoolExecutor(4) as pool:
        lengths = set(
            pool.map(lambda _: len(TokenDataset(store, CONTEXT, packing="best_fit", cache_dir=cache)), range(4))
        )
    assert len(lengths) == 1
    (path,) = cache.glob("*.pack")
    made = path.stat()
    TokenDataset(store, CONTEXT, packing="best_fit", cache_dir=cache)
    assert path.stat().st_mtime_ns == made.st_mtime_ns
    TokenDataset(store, 2 * CONTEXT, packing="best_fit", cache_dir=cache)
    TokenDataset(store, CONTEXT, packing="pad", cache_dir=cache)
    TokenDataset(store, CONTEXT, packing="pad", split="1,1:0", cache_dir=cache)
    assert len(list(cache.glob("*.pack"))) == 4
    path.write_bytes(path.read_bytes()[:-1])
    assert {len(TokenDataset(store, CONTEXT, packing="best_fit", cache_dir=cache))} == lengths
    assert path.stat().st_size == made.st_size


def test_a_cache_that_cannot_be(store: Path, tmp_path: Path) -> None:
    """A cache directory that cannot be made is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LoaderError, match="no place for pack indexes"):
        TokenDataset(store, CONTEXT, packing="pad", cache_dir=tmp_path / "file" / "packs")


GOLDEN = {
    "best_fit": [
        [(35, 0)],
        [(99, 0)],
        [(163, 0)],
        [(227, 0)],
        [(364, 0)],
        [(428, 0), (299, 63)],
        [(300, 0), (333, 33)],
        [(0, 0), (493, 30), (291, 47), (30, 55), (491, 60)],
    ],
    "pad": [
        [(0, 0), (30, 31)],
        [(35, 0)],
        [(99, 0)],
        [(163, 0)],
        [(227, 0)],
        [(291, 0), (299, 9), (300, 11)],
        [(333, 0)],
        [(364, 0)],
        [(428, 0)],
        [(491, 0), (493, 3)],
    ],
}
