"""A watchdog: what does not come to an end in time is a failure, not a hang."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise AssertionError in the main thread when the block takes longer, even where it waits for another thread."""

    def over(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"still not over after {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
