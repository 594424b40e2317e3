"""shard/source/patience.py: how long and how often something that fails is tried again."""

import time
from itertools import pairwise

import pytest

from shard.errors import SourceError, SourceReadError
from shard.source.patience import TransientError, patiently


def test_waits_grow_and_end() -> None:
    """What goes on failing is tried at growing intervals, twice or thrice in a second and not hundreds of times, and
    given up then."""
    calls: list[float] = []

    def fails() -> None:
        calls.append(time.monotonic())
        raise TransientError("HTTP 503")

    with pytest.raises(SourceReadError, match=r"the place: given up after 1 s of retries: HTTP 503"):
        patiently(fails, "the place", 1.0)
    waits = [after - before for before, after in pairwise(calls)]
    assert 1 <= len(waits) <= 2
    assert all(wait >= 0.5 * 2**number for number, wait in enumerate(waits))


def test_what_does_not_pass_is_not_tried_again() -> None:
    """Any other error comes through at the first call."""
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        raise SourceError("gone")

    with pytest.raises(SourceError, match="gone"):
        patiently(fails, "the place", 60.0)
    assert calls == [1]
