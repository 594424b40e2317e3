"""What equal keys cost: DuckDB's share of `dedup` alone, over keys that are made up, with memory and without.

    python -m benchmarks.dedup_pairs [--millions 1 3 10] [--memory 1GB] [--work DIR] [--json FILE]

Of the documents 5 % are equal to another, 15 % nearly so (each band is shared with a chance of 0.43, as at J = 0.9), in
groups of Zipf's sizes, the largest one document in five hundred; one document in a thousand has one band in common with
a third of all of those, as boilerplate has. Every size runs in a process of its own, with each of the limits. Peaks are
of each stage: memory from VmHWM, which is reset before it, disk (database and what is spilled) looked at every 0.1 s.
Exit code 1 when a size fails.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from provision.cli.values import Size
from shard.dedup.clusters import Clusters
from shard.dedup.pairs import KeyStore

BANDS = 8
_BATCH = 1_000_000
_EQUAL, _NEAR, _BOILERPLATE = 0.05, 0.15, 0.001
_SHARED = 0.9**8
"""Chance that a band of eight rows is shared at J = 0.9."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Stage:
    """What one stage took."""

    name: str
    seconds: float
    cpu_seconds: float
    memory: int
    """Bytes, the resident high-water mark."""
    disk: int
    """Bytes at most, database and spilled."""
    rows: int
    """What came of it: documents or pairs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 3, 10], help="Documents.")
    parser.add_argument("--memory", nargs="*", default=["default", "1GB"], help="DuckDB's limits, or default.")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "shardfleet-benchmarks")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        memory = None if options.memory == ["default"] else Size().convert(options.memory[0], None, None)
        print(json.dumps([asdict(stage) for stage in _run(options.one, memory, options.work)]))
        return
    results = []
    for millions in options.millions:
        for memory in options.memory:
            stages = _in_process(int(millions * 1_000_000), memory, options.work)
            results.append({"documents": int(millions * 1_000_000), "memory": memory, "stages": stages})
            if options.json:
                options.json.write_text(json.dumps(results, indent=1))
    sys.exit(0 if all(result["stages"] for result in results) else 1)


def _in_process(documents: int, memory: str, work: Path) -> list[dict[str, object]]:
    """Run one size with one limit, and print it."""
    work.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.dedup_pairs", "--one", str(documents), "--memory", memory]
    done = subprocess.run([*command, "--work", str(work)], stdout=subprocess.PIPE, text=True, check=False)
    print(f"\n{documents:,} documents, memory limit {memory}")
    if done.returncode:
        print(f"  failed, exit code {done.returncode}")
        return []
    print(f"  {'':12} {'seconds':>8} {'CPU':>8} {'memory MB':>10} {'disk MB':>9} {'rows':>12}")
    stages: list[dict[str, object]] = json.loads(done.stdout)
    for stage in (Stage(**one) for one in stages):  # type: ignore[arg-type]
        print(
            f"  {stage.name:12} {stage.seconds:8.1f} {stage.cpu_seconds:8.1f} {stage.memory / 1e6:10,.0f} "
            f"{stage.disk / 1e6:9,.0f} {stage.rows:12,}",
            flush=True,
        )
    return stages


def _run(documents: int, memory: int | None, work: Path) -> list[Stage]:
    """All stages over so many documents, as shard/dedup/find.py goes through them."""
    stages: list[Stage] = []
    with tempfile.TemporaryDirectory(dir=work) as name:
        directory = Path(name)

        def stage(title: str, do: Callable[[], Result], rows: Callable[[Result], int]) -> Result:
            result, measured = _measured(directory, title, do, rows)
            stages.append(measured)
            print(f"{title}: {measured.seconds:.1f} s", file=sys.stderr, flush=True)
            return result

        with KeyStore(directory, BANDS, memory) as store:
            stage("load exact", lambda: _load(store, documents, exact=True), int)
            equal = stage("equal", store.equal, len)
            stage("load banded", lambda: _load(store, documents, exact=False), int)
            near = stage("in any pair", store.candidate_documents, len)
            stage("components", lambda: _clustered(store, equal, near), len)
    return stages


def _clustered(store: KeyStore, equal: NDArray[np.int64], near: NDArray[np.int64]) -> NDArray[np.int64]:
    """The documents that would go if all that were compared were alike."""
    clusters = Clusters(np.concatenate((equal.ravel(), near)))
    clusters.link(equal)
    for pairs in store.candidates():
        clusters.link(pairs)
    gone: NDArray[np.int64] = clusters.documents[clusters.documents != clusters.smallest()]
    return gone


def _load(store: KeyStore, documents: int, *, exact: bool) -> int:
    for first in range(0, documents, _BATCH):
        numbers = np.arange(first, min(documents, first + _BATCH), dtype=np.int64)
        if exact:
            store.add_exact(first, _exact_keys(numbers, documents))
        else:
            # As in find.py, exact copies are not among them.
            others = numbers[_fraction(numbers, 1) >= _EQUAL]
            store.add_banded(others, _band_keys(others, documents))
    return documents


def _exact_keys(numbers: NDArray[np.int64], documents: int) -> NDArray[np.uint64]:
    """[documents, 2] keys, 5 % of them those of another document."""
    original = np.where(_fraction(numbers, 1) < _EQUAL, _model(numbers, documents, 2), numbers)
    return np.stack((_hash(original, 3), _hash(original, 4)), axis=1)


def _band_keys(numbers: NDArray[np.int64], documents: int) -> NDArray[np.uint64]:
    """[documents, bands] keys; near copies have some of those of the document that they are copies of."""
    near, model = _fraction(numbers, 5) < _NEAR, _model(numbers, documents, 6)
    boilerplate = _fraction(numbers, 7) < _BOILERPLATE
    keys = np.empty((len(numbers), BANDS), dtype=np.uint64)
    for band in range(BANDS):
        shared = near & (_fraction(numbers, 10 + band) < _SHARED)
        keys[:, band] = _hash(np.where(shared, model, numbers), 30 + band)
        common = boilerplate & (numbers % BANDS == band)
        keys[common, band] = _hash(numbers[common] % 3, 50)
    return keys


def _model(numbers: NDArray[np.int64], documents: int, salt: int) -> NDArray[np.int64]:
    """Of which document each is a copy: of a few very often, of most once or never."""
    fraction = _fraction(numbers, salt)
    # The quantile of a distribution with a heavy head: rank r in proportion to 1 / (r + 30), roughly.
    common = (30 * ((documents / 30) ** fraction - 1)).astype(np.int64)
    spread = (_fraction(numbers, salt + 100) * documents).astype(np.int64)
    return np.where(_fraction(numbers, salt + 200) < 0.1, common, spread)


def _fraction(numbers: NDArray[np.int64], salt: int) -> NDArray[np.floating]:
    """In [0, 1), the same for a number whatever the batch."""
    return (_hash(numbers, salt) >> np.uint64(11)) * 2.0**-53


def _hash(numbers: NDArray[np.int64], salt: int) -> NDArray[np.uint64]:
    """The finaliser of splitmix64."""
    begin = np.uint64(salt * 0xD1342543DE82EF95 % 2**64)
    mixed = (numbers.astype(np.uint64) + begin) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _measured(
    directory: Path, name: str, do: Callable[[], Result], rows: Callable[[Result], int]
) -> tuple[Result, Stage]:
    Path("/proc/self/clear_refs").write_text("5")  # the resident high-water mark begins anew
    ended, largest = threading.Event(), [0]

    def look() -> None:
        while True:
            largest[0] = max(largest[0], _disk(directory))
            if ended.wait(0.1):
                return

    watcher = threading.Thread(target=look)
    watcher.start()
    began, cpu = time.perf_counter(), time.process_time()
    try:
        result = do()
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    finally:
        ended.set()
        watcher.join()
    return result, Stage(name, seconds, cpu_seconds, _high_water(), largest[0], rows(result))


def _disk(directory: Path) -> int:
    found = 0
    for path in directory.rglob("*"):
        try:
            found += path.stat().st_blocks * 512
        except FileNotFoundError:  # removed since it was listed
            continue
    return found


def _high_water() -> int:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
