"""Ctrl+C, and Ctrl+C once more, where hosts are at work for a command."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from provision.errors import NotProvenStoppedError


@contextmanager
def stopping_every_host() -> Iterator[None]:
    """Say that hosts are being stopped. Raises NotProvenStoppedError where Ctrl+C comes before they are shown to be."""
    click.echo("stopping every host…", err=True)
    try:
        yield
    except KeyboardInterrupt:
        raise NotProvenStoppedError("interrupted before every host was shown to be stopped") from None
