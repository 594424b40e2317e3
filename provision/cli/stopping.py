"""Ctrl+C, and Ctrl+C once more, where hosts are at work for a command."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click

from provision.errors import NotProvenStoppedError

_LEAVES_AT = 3
"""Which Ctrl+C does not wait for the hosts any more, as in the script of a run."""


@contextmanager
def stopped_by_ctrl_c(stop: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl+C within the block stop every host, and go on from there as KeyboardInterrupt.

    `stop` kills, without any grace, and raises NotProvenStoppedError where it cannot be shown that nothing is left. So
    a second Ctrl+C has nothing to hasten, and must not cut it short; the third leaves, with NotProvenStoppedError.
    """
    interrupts = 0

    def interrupt(_: int, __: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts == 1 or interrupts >= _LEAVES_AT:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # who was started to ignore it goes on ignoring it
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        try:
            click.echo("stopping every host…", err=True)
            stop()
        except KeyboardInterrupt:
            raise NotProvenStoppedError("interrupted before every host was shown to be stopped") from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)
