"""Documents with equal keys, found by DuckDB, which sorts on disk what does not fit into memory."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shard.dedup.groups import Columns, Pairs, behind_first, distinct, gathered, shared, with_neighbours
from shard.errors import DiskFullError, JobError

try:
    import duckdb
except ImportError as missing:
    _missing: str | None = missing.name
else:
    _missing = None

_FETCHED_ROWS = 1 << 17
"""Of which up to 17 pairs each can come."""
_WRITTEN_ROWS = 1 << 20
"""Pairs written at a time: DuckDB writes few rows to its log first, and many to their place."""
_FULL = ("max_temp_directory_size", os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
"""What DuckDB says of a disk that is full; it spills to nine tenths of the free space at most."""
_THREAD_BYTES = 64 << 20
"""Memory for each thread at least: DuckDB fails where its many threads have a few megabytes each to sort in."""
_NONE = np.empty((0, 2), dtype=np.int64)


def require_duckdb() -> None:
    """Raise JobError where DuckDB is not installed."""
    if _missing is not None:
        raise JobError(f"deduplication needs {_missing}: pip install 'shardfleet[dedup]'")


class KeyStore:
    """Keys of all documents, in a database of its own in a directory; a context manager that removes it."""

    def __init__(self, directory: Path, bands: int, memory: int | None = None) -> None:
        """`memory`: bytes that DuckDB takes at most, by default 80 % of the machine's.

        This and all methods raise DiskFullError, and JobError where DuckDB has too little memory.
        """
        require_duckdb()
        self._directory = directory
        self._path = directory / "keys.duckdb"
        self._spilled = directory / "keys.tmp"
        self._remove()  # of an attempt that was killed
        self._bands = bands
        self._memory = memory
        self._waiting: dict[str, list[dict[str, NDArray[np.generic]]]] = {}
        """Rows of a table that are still to be written."""
        config: dict[str, str | bool | int | float | list[str]] = {"temp_directory": str(self._spilled)}
        if memory is not None:
            config["memory_limit"] = f"{memory}B"
            config["threads"] = max(1, min(len(os.sched_getaffinity(0)), memory // _THREAD_BYTES))
        with self._limits_named(), ExitStack() as stack:
            stack.callback(self._remove)
            self._connection = stack.enter_context(duckdb.connect(str(self._path), config=config))
            # Results that need an order ask for it.
            self._connection.execute("SET preserve_insertion_order = false")
            self._connection.execute("CREATE TABLE exact (document BIGINT, low UBIGINT, high UBIGINT)")
            self._connection.execute("CREATE TABLE pairs (a BIGINT, b BIGINT)")
            columns = "".join(f", key{band} UBIGINT" for band in range(bands))
            self._connection.execute(f"CREATE TABLE banded (document BIGINT{columns})")
            self._opened = stack.pop_all()

    def __enter__(self) -> "KeyStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def add_exact(self, first: int, keys: NDArray[np.uint64]) -> None:
        """Keys, [documents, 2], of documents numbered from `first` on."""
        numbers = np.arange(first, first + len(keys), dtype=np.int64)
        self._insert("exact", {"document": numbers, "low": keys[:, 0], "high": keys[:, 1]})

    def add_banded(self, numbers: NDArray[np.int64], keys: NDArray[np.uint64]) -> None:
        """Band keys, [documents, bands], of the documents with these numbers."""
        self._insert("banded", {"document": numbers} | {f"key{band}": keys[:, band] for band in range(self._bands)})

    def equal(self) -> Pairs:
        """Every document with the key of an earlier one, behind the first of that key, in order of its number.

        To be called once, after all keys of documents are there: room on disk that they took is used anew.
        """
        ordered = self._ordered("SELECT low, high, document FROM exact ORDER BY ALL")
        pairs = np.concatenate([_NONE, *behind_first(shared(ordered))])
        with self._limits_named():
            self._connection.execute("DROP TABLE exact")
            self._connection.execute("CHECKPOINT")  # else its room stays taken
        return pairs[np.argsort(pairs[:, 1])]

    def candidate_documents(self) -> NDArray[np.int64]:
        """Documents that share a band with another, ascending. To be called once, after all keys are there."""
        for band in range(self._bands):
            ordered = self._ordered(f"SELECT key{band}, document FROM banded ORDER BY ALL")  # noqa: S608  a number
            for pairs in gathered(with_neighbours(shared(ordered)), _WRITTEN_ROWS):
                self._insert("pairs", {"a": pairs[:, 0], "b": pairs[:, 1]})
        ordered = self._ordered("SELECT a FROM pairs UNION ALL SELECT b FROM pairs ORDER BY ALL")
        found = distinct(column.reshape(-1, 1) for (column,) in ordered)
        return np.concatenate([np.empty(0, dtype=np.int64), *(rows[:, 0] for rows in found)])

    def candidates(self) -> Iterator[Pairs]:
        """The pairs of those documents, each once, in order, some at a time."""
        ordered = self._ordered("SELECT a, b FROM pairs ORDER BY ALL")
        return distinct(np.stack(columns, axis=1) for columns in ordered)

    def _ordered(self, query: str) -> Iterator[Columns]:
        """The rows of a query, some at a time."""
        for table in [*self._waiting]:
            self._write(table)
        # A connection of its own: rows are written while others are read.
        with self._limits_named(), self._connection.cursor() as reading:
            if self._memory is not None:
                # What is being sorted cannot all give way to what is being read.
                reading.execute(f"SET operator_memory_limit = '{self._memory // 2}B'")
            for batch in reading.sql(query).to_arrow_reader(_FETCHED_ROWS):
                yield [column.to_numpy() for column in batch.columns]

    def _insert(self, table: str, columns: dict[str, NDArray[np.generic]]) -> None:
        """Add rows, many at a time: an insert takes milliseconds, however few they are."""
        waiting = self._waiting.setdefault(table, [])
        waiting.append(columns)
        if sum(len(next(iter(some.values()))) for some in waiting) >= _FETCHED_ROWS:
            self._write(table)

    def _write(self, table: str) -> None:
        waiting = self._waiting.pop(table)
        columns = {name: np.concatenate([some[name] for some in waiting]) for name in waiting[0]}
        with self._limits_named():
            self._connection.register("added", columns)
            self._connection.execute(f"INSERT INTO {table} SELECT {', '.join(columns)} FROM added")  # noqa: S608  ours
            self._connection.unregister("added")

    @contextmanager
    def _limits_named(self) -> Iterator[None]:
        """Turn what DuckDB raises for want of disk or memory into errors that say where and what helps."""
        try:
            yield
        except (duckdb.Error, OSError) as error:  # OSError: what is raised while rows are fetched
            said = str(error).partition("\n")[0]
            if any(reason in str(error) for reason in _FULL):
                raise DiskFullError(
                    f"{self._directory}: no space for keys ({said}); free some there and start again: signatures "
                    "are kept"
                ) from error
            if "memory_limit" in str(error):  # the remedy that DuckDB names, whatever failed
                raise JobError(
                    f"--memory {self._memory}: too little to sort keys in {self._directory} ({said}); give more"
                    if self._memory
                    else f"too little memory to sort keys in {self._directory} ({said}); end what else takes some"
                ) from error
            raise
        except RuntimeError as error:
            if "interrupted" in str(error):  # what DuckDB makes of Ctrl+C
                raise KeyboardInterrupt from error
            raise

    def _remove(self) -> None:
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink()
        shutil.rmtree(self._spilled, ignore_errors=True)
