"""Which samples a loader gives, in what order, on which rank: the promises about resuming and world sizes."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shard.errors import LoaderStateError
from shard.loader import Batch, BatchOptions, DataLoader, TokenDataset
from shard.loader.segments import Segments
from tests.support.stores import write_store

CONTEXT = 64
GLOBAL_BATCH = 24


@pytest.fixture(scope="module")
def dataset(store: Path) -> TokenDataset:
    return TokenDataset(store, CONTEXT)


def bytes_of(batch: Batch) -> tuple[bytes, ...]:
    """All that a trainer sees of a batch."""
    fields = ("input_ids", "labels", "loss_mask", "position_ids", "document_ids", "cu_seqlens", "is_continuation")
    return *(getattr(batch, field).tobytes() for field in fields), str(batch.max_seqlen).encode()


def samples(loader: DataLoader) -> list[int]:
    """The rest of the epoch."""
    return [sample for batch in loader for sample in batch.samples.tolist()]


@pytest.mark.parametrize("shuffle", ["full", "block", "none"])
@pytest.mark.parametrize("world_size", [1, 3])
def test_every_sample_exactly_once(dataset: TokenDataset, shuffle: Any, world_size: int) -> None:
    """In an epoch the ranks together take every sample once, but for what fills no step."""
    taken: list[int] = []
    for rank in range(world_size):
        loader = DataLoader(dataset, GLOBAL_BATCH, dp_rank=rank, dp_world_size=world_size, shuffle=shuffle)
        taken += samples(loader)
    steps = len(dataset) // GLOBAL_BATCH
    assert len(taken) == len(set(taken)) == steps * GLOBAL_BATCH
    assert len(dataset) - len(taken) < GLOBAL_BATCH
    assert len(loader) == steps


@pytest.mark.parametrize("prefetch_factor", [0, 1, 4])
def test_resume_at_every_step(dataset: TokenDataset, prefetch_factor: int) -> None:
    """From the state after any step on, a new loader gives byte for byte what the first one gave: also across the end
    of the epoch, and when it was itself resumed."""
    loader = DataLoader(dataset, 200, seed=3, prefetch_factor=prefetch_factor)
    states, whole = [loader.state_dict()], []
    for _ in range(2):
        for batch in loader:
            whole.append(bytes_of(batch))
            states.append(loader.state_dict())
    assert len(whole) == 2 * len(loader)
    for step, state in enumerate(states[:-1]):
        resumed = DataLoader(dataset, 200, seed=3, prefetch_factor=prefetch_factor)
        resumed.load_state_dict(state)
        assert bytes_of(next(iter(resumed))) == whole[step]
        again = DataLoader(dataset, 200, seed=3, prefetch_factor=prefetch_factor)
        again.load_state_dict(resumed.state_dict())
        left = [bytes_of(batch) for _ in range(2) for batch in again]
        assert left[: len(whole) - step - 1] == whole[step + 1 :]
        resumed.close()


def test_a_state_counts_what_was_given_out(dataset: TokenDataset) -> None:
    """However far the thread has read ahead, a state says how many batches were taken."""
    loader = DataLoader(dataset, GLOBAL_BATCH, prefetch_factor=8)
    assert loader.state_dict()["step"] == 0
    iterator = iter(loader)
    assert loader.state_dict()["step"] == 0
    for taken in range(1, 4):
        next(iterator)
        assert loader.state_dict()["step"] == taken
    loader.close()


def test_world_sizes(dataset: TokenDataset) -> None:
    """One rank, then two, eight, three: resumed from any rank's state the ranks together go on with the very global
    batches that one rank alone would have had."""
    alone = DataLoader(dataset, GLOBAL_BATCH, seed=9)
    expected = [batch.tokens.tobytes() for _, batch in zip(range(12), alone, strict=False)]
    state: dict[str, Any] | None = None
    found: list[bytes] = []
    for world_size in (1, 2, 8, 3):
        ranks = [
            DataLoader(dataset, GLOBAL_BATCH, dp_rank=rank, dp_world_size=world_size, seed=9)
            for rank in range(world_size)
        ]
        for loader in ranks:
            if state is not None:
                loader.load_state_dict(state)
        iterators = [iter(loader) for loader in ranks]
        found += [b"".join(next(iterator).tokens.tobytes() for iterator in iterators) for _ in range(3)]
        states = [loader.state_dict() for loader in ranks]
        assert all(one == states[0] for one in states)
        state = states[-1]
        for loader in ranks:
            loader.close()
    alone.close()
    assert found == expected


def test_a_state_is_small(dataset: TokenDataset) -> None:
    """A state stays below 1 KB as JSON, whatever the step."""
    loader = DataLoader(dataset, GLOBAL_BATCH, seed=2**63 - 1)
    loader.advance_to(10**15)
    assert len(repr(loader.state_dict())) < 1000


def test_numbers_of_numpy(dataset: TokenDataset) -> None:
    """Numbers may be numpy's; the state is plain JSON all the same."""
    loader = DataLoader(dataset, np.int64(24), np.int32(6), dp_world_size=np.int64(2), seed=np.int64(3))  # type: ignore[arg-type]
    next(iter(loader))
    plain = DataLoader(dataset, 24, dp_world_size=2, seed=3)
    plain.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    assert plain.step == 1


def test_every_epoch_and_seed_has_its_order(dataset: TokenDataset) -> None:
    """Epochs and seeds differ from each other in their order; the same one comes out the same."""
    loader = DataLoader(dataset, GLOBAL_BATCH, seed=1)
    orders = [samples(loader) for _ in range(3)]
    orders += [samples(DataLoader(dataset, GLOBAL_BATCH, seed=seed)) for seed in (2, 3)]
    assert len({tuple(order) for order in orders}) == len(orders)
    loader.set_epoch(1)
    assert samples(loader) == orders[1]
    for one, other in pairwise(orders):
        same = sum(a == b for a, b in zip(one, other, strict=True))
        assert same < len(one) // 20, "hardly any sample stands where it stood"


def test_golden_order(tmp_path: Path) -> None:
    """A loader's order is this one in every version and on every platform."""
    dataset = TokenDataset(write_store(tmp_path, [[[1] * 99], [[2] * 199]]), 10)
    assert len(dataset) == 29
    found = {}
    for shuffle in ("full", "block", "none"):
        loader = DataLoader(dataset, 7, seed=5, shuffle=shuffle)  # type: ignore[arg-type]
        found[shuffle] = [samples(loader), samples(loader)]
    assert found == GOLDEN


def test_set_epoch(dataset: TokenDataset) -> None:
    """set_epoch goes to the beginning of another epoch, and leaves a resumed loader where it is."""
    loader = DataLoader(dataset, GLOBAL_BATCH)
    loader.set_epoch(2)
    assert (loader.epoch, loader.step) == (2, 2 * len(loader))
    next(iter(loader))
    resumed = DataLoader(dataset, GLOBAL_BATCH)
    resumed.load_state_dict(loader.state_dict())
    resumed.set_epoch(2)
    assert resumed.step == 2 * len(loader) + 1
    loader.close()


def test_steps_that_are_filled_up(dataset: TokenDataset) -> None:
    """With drop_last=False the last step begins the epoch's order again, so that every rank has the same number of
    steps and every sample is seen."""
    loader = DataLoader(dataset, GLOBAL_BATCH, drop_last=False)
    taken = samples(loader)
    assert len(taken) == -(-len(dataset) // GLOBAL_BATCH) * GLOBAL_BATCH
    assert set(taken) == set(range(len(dataset)))
    assert taken[len(dataset) :] == taken[: len(taken) - len(dataset)]


def test_steps_per_epoch(dataset: TokenDataset) -> None:
    """An epoch can be given a number of steps; samples begin again when they run out."""
    short = DataLoader(dataset, GLOBAL_BATCH, steps_per_epoch=2)
    assert [batch.step for _ in range(2) for batch in short] == [0, 1, 2, 3]
    steps = len(dataset) // GLOBAL_BATCH + 5
    assert len(samples(DataLoader(dataset, GLOBAL_BATCH, steps_per_epoch=steps))) == steps * GLOBAL_BATCH


def test_skip_ranges(dataset: TokenDataset) -> None:
    """Skipped steps are not given out; the others are what they were, across epochs and resumes."""
    plain = DataLoader(dataset, 200)
    whole = {batch.step: batch.samples.tolist() for _ in range(2) for batch in plain}
    last = len(plain) - 1
    skipping = [(0, 1), (2, 3), (last, last + 2)]
    loader = DataLoader(dataset, 200, skip_ranges=skipping)
    assert len(loader) == len(plain) - 3
    found: dict[int, list[int]] = {}
    for _ in range(2):
        for batch in loader:
            found[batch.step] = batch.samples.tolist()
            resumed = DataLoader(dataset, 200, skip_ranges=skipping)
            resumed.load_state_dict(loader.state_dict())
            assert resumed.step == loader.step
    skipped = {0, 2, last, last + 1}
    assert found == {step: taken for step, taken in whole.items() if step not in skipped}


def test_context_length_by_epoch(store: Path, dataset: TokenDataset) -> None:
    """Each epoch can have a dataset of its own, such as one of longer contexts; a state knows which it is in."""
    longer = dataset.with_context_length(2 * CONTEXT)
    loader = DataLoader([dataset, longer], GLOBAL_BATCH)
    shapes = [{batch.input_ids.shape for batch in loader} for _ in range(3)]
    assert shapes == [{(GLOBAL_BATCH, CONTEXT)}, {(GLOBAL_BATCH, 2 * CONTEXT)}, {(GLOBAL_BATCH, 2 * CONTEXT)}]
    assert loader.steps_of(0) == len(dataset) // GLOBAL_BATCH
    assert loader.steps_of(7) == len(longer) // GLOBAL_BATCH
    loader.set_epoch(1)
    state = loader.state_dict()
    resumed = DataLoader([dataset, longer], GLOBAL_BATCH)
    resumed.load_state_dict(state)
    assert resumed.epoch == 1
    with pytest.raises(LoaderStateError, match="context_length: the state has 128, this loader 64"):
        DataLoader(dataset, GLOBAL_BATCH).load_state_dict(state)


def test_micro_batches(dataset: TokenDataset) -> None:
    """A step falls into micro-batches whose fields are those of the step's rows."""
    loader = DataLoader(dataset, GLOBAL_BATCH, 4, dp_rank=1, dp_world_size=2)
    batch = next(iter(loader))
    parts = list(batch.micro_batches())
    assert [len(part) for part in parts] == [4, 4, 4]
    for field in ("input_ids", "labels", "loss_mask", "position_ids", "document_ids", "is_continuation", "samples"):
        joined = np.concatenate([getattr(part, field) for part in parts])
        assert np.array_equal(joined, getattr(batch, field)), field
    for number, part in enumerate(parts):
        first = number * 4 * CONTEXT
        inside = batch.cu_seqlens[(batch.cu_seqlens >= first) & (batch.cu_seqlens <= first + 4 * CONTEXT)] - first
        assert np.array_equal(part.cu_seqlens, inside)
        assert part.max_seqlen == np.diff(part.cu_seqlens).max()
    loader.close()


def test_batches_are_their_own(dataset: TokenDataset) -> None:
    """Batches that are kept stay what they were when later ones are made."""
    loader = DataLoader(dataset, GLOBAL_BATCH)
    kept = list(loader)
    assert [bytes_of(batch) for batch in kept] == [bytes_of(loader.batch_at(batch.step)) for batch in kept]


def test_arrays_of_ones_own(dataset: TokenDataset) -> None:
    """Tokens are read into the arrays that `allocate` makes, such as pinned memory."""
    made: list[np.ndarray] = []

    def allocate(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        made.append(np.full(shape, -1, dtype))
        return made[-1]

    batch = DataLoader(dataset, GLOBAL_BATCH, allocate=allocate, options=BatchOptions(dtype="int64")).batch_at(3)
    assert batch.tokens is made[0]
    assert np.array_equal(made[0], DataLoader(dataset, GLOBAL_BATCH).batch_at(3).tokens)
    assert made[0].dtype == np.int64


def test_prepared_fields(dataset: TokenDataset) -> None:
    """Fields that the thread prepares are there, and the same as those worked out later."""
    loader = DataLoader(dataset, GLOBAL_BATCH, prepare=("cu_seqlens", "position_ids"))
    batch = next(iter(loader))
    assert {"cu_seqlens", "position_ids"} <= set(vars(batch))
    assert "document_ids" not in vars(batch)
    assert isinstance(batch.segments, Segments)
    assert bytes_of(batch) == bytes_of(loader.batch_at(0))
    loader.close()


GOLDEN = {
    "full": [
        [5, 17, 25, 20, 27, 28, 0, 4, 11, 2, 15, 26, 19, 18, 9, 3, 13, 21, 8, 24, 12, 10, 6, 7, 22, 1, 14, 23],
        [19, 0, 27, 1, 10, 3, 17, 8, 22, 9, 12, 28, 14, 21, 24, 23, 18, 16, 20, 11, 6, 25, 26, 5, 15, 7, 13, 4],
    ],
    "block": [
        [5, 17, 25, 20, 27, 28, 0, 4, 11, 2, 15, 26, 19, 18, 9, 3, 13, 21, 8, 24, 12, 10, 6, 7, 22, 1, 14, 23],
        [19, 0, 27, 1, 10, 3, 17, 8, 22, 9, 12, 28, 14, 21, 24, 23, 18, 16, 20, 11, 6, 25, 26, 5, 15, 7, 13, 4],
    ],
    "none": [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27],
    ],
}
