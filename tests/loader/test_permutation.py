"""shard/loader/permutation.py"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shard.loader.permutation import BLOCK_SAMPLES, key_of, permute, permute_blocks


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 3000), st.integers(0, 2**63 - 1), st.integers(0, 50), st.integers(0, 3))
def test_every_sample_once(n: int, seed: int, epoch: int, source: int) -> None:
    """The order of any number of samples, with any key, is a permutation; so is the one by blocks."""
    key = key_of(seed, epoch, source)
    everything = list(range(n))
    assert sorted(permute(np.arange(n), n, key).tolist()) == everything
    assert sorted(permute_blocks(np.arange(n), n, key, 64).tolist()) == everything


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 10**15 - 1), min_size=1, max_size=20), st.integers(0, 2**63 - 1))
def test_places_do_not_depend_on_each_other(places: list[int], seed: int) -> None:
    """A place of a huge order is the same asked for alone and among others, and lies within it."""
    n, key = 10**15, key_of(seed, 0, 0)
    together = permute(np.array(places), n, key).tolist()
    assert together == [int(permute(np.array([place]), n, key)[0]) for place in places]
    assert all(0 <= sample < n for sample in together)


def test_golden_values() -> None:
    """Orders are these on every platform and in every version: a run that was begun can always be resumed."""
    assert key_of(1, 2, 3) == GOLDEN_KEY
    found = {n: permute(np.arange(8), n, key_of(7, 1, 0)).tolist() for n in GOLDEN_FULL}
    assert found == GOLDEN_FULL
    assert permute_blocks(np.arange(12), 11 + 8, key_of(7, 1, 0), 4)[:12].tolist() == GOLDEN_BLOCKS
    assert permute(np.arange(4), 100, key_of(7, 1, 0), np.array([0, 0, 1, 1])).tolist() == GOLDEN_TWEAKED


@pytest.mark.parametrize("n", [2**31, 2**40 + 7, 2**62])
def test_huge_orders_do_not_repeat(n: int) -> None:
    """Places of orders far beyond 32 bits go to different samples, spread over all of them."""
    found = permute(np.arange(20_000), n, key_of(0, 0, 0))
    assert len(np.unique(found)) == 20_000
    assert 0.48 < found.mean() / n < 0.52


def test_blocks_stay_together() -> None:
    """The block order takes all of one block of neighbours before the next, blocks and inside mixed."""
    n = 5 * BLOCK_SAMPLES + 100
    found = permute_blocks(np.arange(n), n, key_of(3, 0, 0))
    blocks = (found[: 5 * BLOCK_SAMPLES] // BLOCK_SAMPLES).reshape(5, BLOCK_SAMPLES)
    assert (blocks == blocks[:, :1]).all()
    assert sorted(blocks[:, 0].tolist()) == list(range(5))
    assert blocks[:, 0].tolist() != list(range(5))
    inside = (found[: 5 * BLOCK_SAMPLES] % BLOCK_SAMPLES).reshape(5, BLOCK_SAMPLES)
    assert (inside[0] != inside[1]).any(), "each block has an order of its own"
    assert (found[5 * BLOCK_SAMPLES :] >= 5 * BLOCK_SAMPLES).all()


def test_batches_mix_as_fisher_and_yates() -> None:
    """The chi-squared of what batches are made of is within three sigma of a uniform shuffle's, and the rounds are
    needed for that: with two it comes out very different from epoch to epoch."""
    n, batch, groups, epochs = 10_000, 100, 100, 24
    generator = np.random.default_rng(5)

    def statistic(order: np.ndarray) -> float:
        # [batches, groups] how many samples of each group of neighbours a batch has; one is expected
        counts = np.zeros((n // batch, groups))
        np.add.at(counts, (np.arange(n) // batch, order * groups // n), 1)
        return float(((counts - 1) ** 2).sum() / (n // batch))

    uniform = [statistic(generator.permutation(n)) for _ in range(200)]
    ours = [statistic(permute(np.arange(n), n, key_of(11, epoch, 0))) for epoch in range(epochs)]
    weak = [statistic(permute(np.arange(n), n, key_of(11, epoch, 0)[:2])) for epoch in range(epochs)]
    sigma = np.std(uniform) / np.sqrt(epochs)
    assert abs(np.mean(ours) - np.mean(uniform)) < 3 * sigma
    assert np.std(ours) < 2 * np.std(uniform) < np.std(weak)


GOLDEN_KEY = (
    880758242376964699,
    1769007822060003971,
    18256265189610079214,
    11080586188036689553,
    5750446380183499372,
    13491384609407242449,
)
GOLDEN_FULL = {
    8: [1, 7, 3, 4, 6, 2, 0, 5],
    100: [33, 3, 72, 95, 76, 80, 88, 46],
    12345: [7314, 4494, 3604, 2452, 9393, 8216, 1234, 9626],
    1000000000: [457047281, 220865599, 123449590, 684827204, 706780252, 947680500, 812784177, 921619531],
    4611686018427387904: [
        4147980098107995461,
        3887281164382676912,
        3080113397057690370,
        1649385684236630480,
        275727080096800687,
        3424995236981453840,
        4469365986338719343,
        2147258660955576190,
    ],
}
GOLDEN_BLOCKS = [7, 6, 4, 5, 3, 2, 1, 0, 10, 9, 11, 8]
GOLDEN_TWEAKED = [33, 3, 81, 54]
