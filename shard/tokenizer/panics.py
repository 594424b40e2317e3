"""Panics of Rust libraries, which reach Python as a BaseException that no `except Exception` sees."""

from collections.abc import Iterator
from contextlib import contextmanager

from shard.errors import TokenizerError


@contextmanager
def panics_named(library: str) -> Iterator[None]:
    """Turn a panic into a TokenizerError."""
    try:
        yield
    except BaseException as error:
        # pyo3 makes the class when it first needs it; there is nothing to import.
        if type(error).__name__ != "PanicException":
            raise
        raise TokenizerError(f"{library} panicked: {error}") from error
