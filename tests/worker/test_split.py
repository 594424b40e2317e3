"""shard/split.py"""

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from shard.records.job import Holdout
from shard.split import held_out
from tests.support.batches import text_batch_of

RATES = st.floats(0.0, 1.0, exclude_max=True)
SEEDS = st.integers(0, 2**64 - 1)


@given(st.lists(st.binary(min_size=1)), RATES, SEEDS)
def test_the_rule(documents: list[bytes], rate: float, seed: int) -> None:
    """A document is held out exactly when its xxh3_64 under the seed lies below rate · 2^64."""
    expected = [xxhash.xxh3_64_intdigest(document, seed) / 2**64 < rate for document in documents]
    assert expected == held_out(text_batch_of(documents), Holdout(rate=rate, seed=seed)).tolist()


@given(st.lists(st.binary(min_size=1), min_size=1), SEEDS)
def test_duplicates_never_part(documents: list[bytes], seed: int) -> None:
    """Equal documents are on the same side, wherever they stand and whatever batch they come in."""
    holdout = Holdout(rate=0.5, seed=seed)
    together = held_out(text_batch_of([*documents, *reversed(documents)]), holdout).tolist()
    alone = [held_out(text_batch_of([document]), holdout).item() for document in documents]
    assert [*alone, *reversed(alone)] == together


def test_rate_zero_holds_nothing_out(documents: list[str]) -> None:
    """At rate 0 every document is train."""
    assert not held_out(text_batch_of(documents), Holdout(rate=0.0)).any()


def test_real_text_is_held_out_at_about_the_rate(documents: list[str]) -> None:
    """Another seed chooses others; each takes about its share."""
    batch = text_batch_of(documents)
    first, second = (held_out(batch, Holdout(rate=0.25, seed=seed)) for seed in (0, 1))
    assert pytest.approx(0.25, abs=0.1) == first.mean()
    assert pytest.approx(0.25, abs=0.1) == second.mean()
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize(
    ("rate", "threshold"),
    [(0.5, 1 << 63), (0.001, 18446744073709551), (0.1, 1844674407370955161), (1e-05, 184467440737095)],
)
def test_the_threshold_is_exact(rate: float, threshold: int) -> None:
    """The threshold is the decimal rate times 2^64 rounded down, free of the float's own error."""
    assert threshold == Holdout(rate=rate).threshold
