"""Reading a raw payload, and what every reader of tokens is."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shard.errors import VerificationError
from shard.formats.payload import DTYPES


class TokenReader(Protocol):
    """Any range of the tokens of one shard, for one thread."""

    def __enter__(self) -> "TokenReader": ...

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None: ...

    def read_tokens(self, start: int, stop: int) -> NDArray[Any]:
        """[stop - start] tokens from `start` (inclusive) to `stop` (exclusive); not to be written to.

        Raises VerificationError, naming the file, where it is damaged.
        """


class RawReader:
    """The tokens of one `.bin` file."""

    def __init__(self, path: Path, dtype: str, tokens: int) -> None:
        """`tokens` is what the record says; the file must agree."""
        self._path = path
        self._dtype = DTYPES[dtype]
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise VerificationError(f"{path}: {error.strerror}; its record says that it is there") from error
        size = path.stat().st_size
        if size != tokens * self._dtype.itemsize:
            self._file.close()
            raise VerificationError(f"{path}: {size} bytes; the {tokens} tokens of its record are others")

    def __enter__(self) -> "RawReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def read_tokens(self, start: int, stop: int) -> NDArray[Any]:
        """See TokenReader."""
        try:
            self._file.seek(start * self._dtype.itemsize)
            tokens = np.fromfile(self._file, dtype=self._dtype, count=stop - start)
        except OSError as error:
            raise VerificationError(f"{self._path}: cannot be read: {error.strerror}") from error
        if len(tokens) != stop - start:
            raise VerificationError(f"{self._path}: ends within tokens {start} to {stop}")
        return tokens
