"""Documents with equal keys, found by DuckDB, which sorts and groups on disk what does not fit into memory."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from shard.errors import JobError, ShardError

try:
    import duckdb
except ImportError as missing:
    _missing: str | None = missing.name
else:
    _missing = None

NEIGHBOURS = 16
"""In a group of documents with one band key, each is compared with so many before it, and with the group's first: all
pairs of a group of up to 17, and few enough of a group of a million."""

_FETCHED_ROWS = 1 << 20

T = TypeVar("T")
Pairs = NDArray[np.int64]
"""[pairs, 2] numbers of documents, the lower one first."""


def require_duckdb() -> None:
    """Raise JobError where DuckDB is not installed."""
    if _missing is not None:
        raise JobError(f"deduplication needs {_missing}: pip install 'shardfleet[dedup]'")


class KeyStore:
    """Keys of all documents, in a database of its own in a directory; a context manager that removes it.

    Every method raises ShardError where DuckDB cannot go on, as without space, and is ended by Ctrl+C at once.
    """

    def __init__(self, directory: Path, bands: int) -> None:
        require_duckdb()
        self._path = directory / "keys.duckdb"
        self._spilled = directory / "keys.tmp"
        self._remove()  # of an attempt that was killed
        self._bands = bands
        self._thread = ThreadPoolExecutor(1, "duckdb")
        with self._named():
            self._connection = duckdb.connect(str(self._path), config={"temp_directory": str(self._spilled)})
        columns = "".join(f", key{band} UBIGINT" for band in range(bands))
        # Results that need an order ask for it.
        self._execute("SET preserve_insertion_order = false")
        self._execute("CREATE TABLE exact (document BIGINT, low UBIGINT, high UBIGINT)")
        self._execute("CREATE TABLE pairs (a BIGINT, b BIGINT)")
        self._execute(f"CREATE TABLE banded (document BIGINT{columns})")

    def __enter__(self) -> "KeyStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        self._connection.close()
        self._remove()

    def add_exact(self, first: int, keys: NDArray[np.uint64]) -> None:
        """Keys, [documents, 2], of documents numbered from `first` on."""
        numbers = np.arange(first, first + len(keys), dtype=np.int64)
        self._insert("exact", {"document": numbers, "low": keys[:, 0], "high": keys[:, 1]})

    def add_banded(self, numbers: NDArray[np.int64], keys: NDArray[np.uint64]) -> None:
        """Band keys, [documents, bands], of the documents with these numbers."""
        self._insert("banded", {"document": numbers} | {f"key{band}": keys[:, band] for band in range(self._bands)})

    def equal(self) -> Pairs:
        """Every document with the key of an earlier one, behind the first of that key, in order of its number."""
        found = self._fetched(
            "SELECT least AS a, document AS b FROM exact JOIN ("
            "  SELECT low, high, min(document) AS least FROM exact GROUP BY low, high HAVING count(*) > 1"
            ") USING (low, high) WHERE document > least ORDER BY b"
        )
        return _pairs(found["a"], found["b"])

    def candidate_documents(self) -> NDArray[np.int64]:
        """Documents that share a band with another, ascending. To be called once, after all keys are there."""
        for band in range(self._bands):
            self._execute(_pairs_of_band(band))
        found = self._fetched("SELECT DISTINCT a AS document FROM pairs UNION SELECT b FROM pairs ORDER BY document")
        return found["document"]

    def candidates(self) -> Iterator[Pairs]:
        """The pairs of those documents, each once, in order, some at a time."""
        query = "SELECT DISTINCT a, b FROM pairs ORDER BY a, b"
        batches = self._call(lambda: self._connection.sql(query).to_arrow_reader(_FETCHED_ROWS))
        while (batch := self._call(lambda: next(batches, None))) is not None:
            yield _pairs(batch.column(0).to_numpy(), batch.column(1).to_numpy())

    def _insert(self, table: str, columns: dict[str, NDArray[np.generic]]) -> None:
        self._connection.register("added", {name: np.ascontiguousarray(column) for name, column in columns.items()})
        self._execute(f"INSERT INTO {table} SELECT {', '.join(columns)} FROM added")  # noqa: S608  ours
        self._connection.unregister("added")

    def _execute(self, query: str) -> None:
        self._call(lambda: self._connection.execute(query))

    def _fetched(self, query: str) -> dict[str, NDArray[np.int64]]:
        """Column → values."""
        return self._call(lambda: self._connection.execute(query).fetchnumpy())

    def _call(self, deed: Callable[[], T]) -> T:
        """What DuckDB does, in a thread: in this one no Ctrl+C would be heard before its end, which may be far."""
        done = self._thread.submit(deed)
        try:
            with self._named():
                return done.result()
        except KeyboardInterrupt:
            while not wait([done], 0.1).done:
                self._connection.interrupt()
            raise

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, OSError) as error:
            said = str(error).partition("\n")[0]
            raise ShardError(
                f"{self._path.parent}: DuckDB: {said}; see that there is space and memory, and start again: what is "
                "finished is kept"
            ) from error

    def _remove(self) -> None:
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink()
        shutil.rmtree(self._spilled, ignore_errors=True)


def _pairs_of_band(band: int) -> str:
    before = ", ".join(f"lag(document, {distance}) OVER sorted" for distance in range(1, NEIGHBOURS + 1))
    return (
        "INSERT INTO pairs SELECT DISTINCT a, b FROM ("  # noqa: S608  numbers of ours
        f"  SELECT document AS b, unnest([first_value(document) OVER sorted, {before}]) AS a"
        f"  FROM banded JOIN (SELECT key{band} FROM banded GROUP BY key{band} HAVING count(*) > 1) USING (key{band})"
        f"  WINDOW sorted AS (PARTITION BY key{band} ORDER BY document)"
        ") WHERE a < b"  # a is null before the first of a group
    )


def _pairs(a: NDArray[np.int64], b: NDArray[np.int64]) -> Pairs:
    return np.stack((a, b), axis=1)
