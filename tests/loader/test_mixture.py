"""shard/loader/mixture.py and weights.py"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shard.errors import LoaderError, LoaderStateError
from shard.loader import DataLoader, MixtureDataset, Stage, TokenDataset
from shard.loader.weights import BLOCK, Schedule, Shares, changed, counts_of, draw
from tests.support.stores import write_store

CONTEXT = 32
GLOBAL_BATCH = 16

WEIGHTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=8).filter(any)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, shards: list[list[list[int]]]) -> list[TokenDataset]:
    """Three datasets of different sizes and token types."""
    root = tmp_path_factory.mktemp("sources")
    texts = [document for documents in shards for document in documents]
    kinds = [("large", texts, False), ("small", texts[:20], True), ("middle", texts[60:], False)]
    return [TokenDataset(write_store(root / name, [part], wide=wide, name=name), CONTEXT) for name, part, wide in kinds]


def drawn(loader: DataLoader, steps: int) -> list[tuple[int, int]]:
    """(source, sample) of each row of the next steps."""
    found: list[tuple[int, int]] = []
    for _, batch in zip(range(steps), loader, strict=False):
        found += zip(batch.sources.tolist(), batch.samples.tolist(), strict=True)
    loader.close()
    return found


def check_nothing_lost(taken: Sequence[tuple[int, int]], sources: Sequence[TokenDataset]) -> None:
    """Every source is walked through epoch by epoch, each sample once in each."""
    for number, source in enumerate(sources):
        samples = [sample for which, sample in taken if which == number]
        for first in range(0, len(samples), len(source)):
            epoch = samples[first : first + len(source)]
            assert len(set(epoch)) == len(epoch)


@settings(deadline=None, max_examples=40)
@given(WEIGHTS)
def test_shares_of_a_block(weights: list[float]) -> None:
    """A block's whole numbers sum up, and are within one sample of the exact shares: 1/2048."""
    counts = counts_of(weights)
    assert sum(counts) == BLOCK
    assert all(
        abs(count - weight / sum(weights) * BLOCK) < 1 + 1e-6 for count, weight in zip(counts, weights, strict=True)
    )


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(1, 5000), st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any)), max_size=4
    ),
    st.integers(0, 3),
)
def test_counters_go_on(stages: list[tuple[int, list[int]]], seed: int) -> None:
    """Whatever weights follow each other after however many samples, each source's samples are counted 0, 1, 2, … in
    the order of the stream; any place can be asked for alone."""
    schedule: Schedule = (Shares(0, counts_of([3, 2, 1])),)
    for gap, weights in stages:
        schedule = changed(schedule, schedule[-1].start + gap, counts_of(weights))
    places = np.arange(schedule[-1].start + 3000)
    source, ordinals = draw(schedule, seed, places)
    for number in range(3):
        mine = ordinals[source == number]
        assert np.array_equal(mine, np.arange(len(mine)))
    some = places[:: max(1, len(places) // 7)]
    alone = [draw(schedule, seed, np.array([place])) for place in some]
    assert [int(one[0][0]) for one in alone] == source[some].tolist()
    assert [int(one[1][0]) for one in alone] == ordinals[some].tolist()


def test_golden_values() -> None:
    """Streams are these in every version and on every platform."""
    source, ordinals = draw((Shares(0, counts_of([5, 3, 1])), Shares(20, counts_of([0, 1, 1]))), 4, np.arange(40))
    assert source.tolist() == GOLDEN_SOURCES
    assert ordinals.tolist() == GOLDEN_ORDINALS


def test_realised_weights(sources: list[TokenDataset]) -> None:
    """Every 2,048 samples have each source's share within one sample, and no sample twice in an epoch of its source."""
    weights = [0.61, 0.08, 0.31]
    loader = DataLoader(MixtureDataset(sources, weights), GLOBAL_BATCH, seed=2)
    taken = drawn(loader, 3 * BLOCK // GLOBAL_BATCH)
    for first in range(0, len(taken), BLOCK):
        counts = np.bincount([source for source, _ in taken[first : first + BLOCK]], minlength=3)
        assert (np.abs(counts - np.array(weights) * BLOCK) < 1).all()
    check_nothing_lost(taken, sources)


def test_weights_changed_on_the_way(sources: list[TokenDataset]) -> None:
    """Weights set in the middle of a run hold from the next step on; no source loses or repeats a sample; a state from
    after the change, with a loader made as before, goes on with them."""
    whole = DataLoader(MixtureDataset(sources, [1, 1, 1]), GLOBAL_BATCH)
    taken = drawn(whole, 50)
    whole.set_weights([8, 0, 1])
    second = 2 * BLOCK // GLOBAL_BATCH
    after = drawn(whole, second)
    counts = np.bincount([source for source, _ in after[:BLOCK]], minlength=3)
    assert counts.tolist() == list(counts_of([8, 0, 1]))
    check_nothing_lost([*taken, *after], sources)

    begun = DataLoader(MixtureDataset(sources, [1, 1, 1]), GLOBAL_BATCH)
    assert drawn(begun, 50) == taken
    begun.set_weights([8, 0, 1])
    assert drawn(begun, 30) == after[: 30 * GLOBAL_BATCH]
    state = begun.state_dict()
    assert len(repr(state)) < 1000
    resumed = DataLoader(MixtureDataset(sources, [1, 1, 1]), GLOBAL_BATCH)
    resumed.load_state_dict(state)
    assert drawn(resumed, second - 30) == after[30 * GLOBAL_BATCH :]
    assert resumed.locate(3) == whole.locate(3)


def test_stages(sources: list[TokenDataset]) -> None:
    """Weights declared as stages are those set on the way; a state can be resumed with stages that begin where it
    ends, and is refused where the past would have been another."""
    start = 50 * GLOBAL_BATCH
    declared = MixtureDataset(sources, [1, 1, 1], stages=[Stage(start=start, weights=[8, 0, 1])])
    by_hand = DataLoader(MixtureDataset(sources, [1, 1, 1]), GLOBAL_BATCH)
    first = drawn(by_hand, 50)
    state = by_hand.state_dict()
    by_hand.set_weights([8, 0, 1])
    taken = first + drawn(by_hand, 40)
    assert drawn(DataLoader(declared, GLOBAL_BATCH), 90) == taken

    resumed = DataLoader(declared, GLOBAL_BATCH)
    resumed.load_state_dict(state)
    assert drawn(resumed, 40) == taken[start:]
    other = DataLoader(MixtureDataset(sources, [8, 0, 1]), GLOBAL_BATCH)
    with pytest.raises(LoaderStateError, match=r"had the weights \[683, 683, 682\] from sample 0 .* up to sample 800"):
        other.load_state_dict(state)


def test_ranks_share_a_mixture(sources: list[TokenDataset]) -> None:
    """Ranks' batches of a mixture in a row are the global batch."""
    mixture = MixtureDataset(sources)
    alone = next(iter(DataLoader(mixture, GLOBAL_BATCH, prefetch_factor=0)))
    ranks = [DataLoader(mixture, GLOBAL_BATCH, dp_rank=rank, dp_world_size=4).batch_at(0) for rank in range(4)]
    assert b"".join(batch.tokens.tobytes() for batch in ranks) == alone.tokens.tobytes()


def test_rows_are_their_sources_rows(sources: list[TokenDataset], tmp_path: Path) -> None:
    """Each row of a mixture's batch is that sample of its source, in every field, packed or not."""
    packed = [
        sources[0],
        sources[1].with_packing("concat"),
        TokenDataset(sources[2].path, CONTEXT, packing="pad", cache_dir=tmp_path),
    ]
    for datasets in (sources, packed):
        loader = DataLoader(MixtureDataset(datasets, [1, 1, 1]), 60, seed=8)
        batch = loader.batch_at(1)
        assert set(batch.sources.tolist()) == {0, 1, 2}
        for row, (source, sample) in enumerate(zip(batch.sources.tolist(), batch.samples.tolist(), strict=True)):
            alone = datasets[source].batch(np.array([sample]))
            for field in ("input_ids", "position_ids", "document_ids", "is_continuation"):
                assert np.array_equal(getattr(batch, field)[row], getattr(alone, field)[0]), field
            first = row * CONTEXT
            mine = (batch.cu_seqlens >= first) & (batch.cu_seqlens < first + CONTEXT)
            assert (batch.cu_seqlens[mine] - first).tolist() == alone.cu_seqlens[:-1].tolist()
            if alone.padded:
                assert np.array_equal(batch.labels[row], alone.labels[0])


def test_epochs_of_a_mixture(sources: list[TokenDataset]) -> None:
    """With a number of samples a mixture has epochs, and goes on in the next where it was; without, it is endless."""
    finite = DataLoader(MixtureDataset(sources, [2, 1, 1], samples=100), GLOBAL_BATCH)
    assert len(finite) == 100 // GLOBAL_BATCH
    taken = [one for _ in range(4) for one in drawn(finite, 6)]
    endless = DataLoader(MixtureDataset(sources, [2, 1, 1]), GLOBAL_BATCH)
    assert taken == drawn(endless, 24)
    with pytest.raises(TypeError, match="endless"):
        len(endless)
    with pytest.raises(LoaderError, match="epoch 0 is endless"):
        endless.set_epoch(1)


def test_what_is_refused(sources: list[TokenDataset]) -> None:
    """Weights and sources that cannot be are refused by name."""
    with pytest.raises(LoaderError, match="2 of them for 3 sources"):
        MixtureDataset(sources, [1, 1])
    with pytest.raises(LoaderError, match="none may be negative"):
        MixtureDataset(sources, [1, -1, 1])
    with pytest.raises(LoaderError, match="not numbers"):
        MixtureDataset(sources, [1, float("nan"), 1])
    with pytest.raises(LoaderError, match=r"context lengths \[32, 64\]"):
        MixtureDataset([sources[0], sources[1].with_context_length(64)])
    with pytest.raises(LoaderError, match="no datasets"):
        MixtureDataset([])
    with pytest.raises(LoaderError, match="starts at sample 0, not after"):
        MixtureDataset(sources, stages=[Stage(start=0, weights=[1, 1, 1])])
    huge = sources[1].with_context_length(10**6)
    with pytest.raises(LoaderError, match="make no sample of context length 1000000"):
        MixtureDataset([huge], [1])
    with pytest.raises(LoaderError, match="no mixture"):
        DataLoader(sources[0], 4).set_weights([1])


GOLDEN_SOURCES = [
    0,
    1,
    1,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    2,
    0,
    1,
    0,
    1,
    1,
    1,
    0,
    0,
    2,
    2,
    2,
    1,
    1,
    2,
    2,
    1,
    1,
    1,
    2,
    2,
    2,
    1,
    1,
    1,
    1,
    2,
    2,
    1,
]
GOLDEN_ORDINALS = [
    0,
    0,
    1,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    0,
    9,
    2,
    10,
    3,
    4,
    5,
    11,
    12,
    1,
    2,
    3,
    6,
    7,
    4,
    5,
    8,
    9,
    10,
    6,
    7,
    8,
    11,
    12,
    13,
    14,
    9,
    10,
    15,
]
