"""What benchmarks/network.py runs at the near end of a link: one contender, measured, as a line of JSON.

python -m benchmarks.netclient curl|curls|reader|rank ENDPOINT REPO CORPUS WORK
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.jobs import write_benchmark_job
from benchmarks.measure import BenchmarkError, Command, measure
from shard.records.job import Dataset
from shard.records.options import Options
from shard.records.unit import Unit
from shard.source.download import Scratch
from shard.source.intake import Intake
from shard.source.opened import open_unit
from tests.support.jobs import hub_dataset, hub_units

CONNECTIONS = 8
"""Of curl, where it has several."""


def wanted_bytes(corpus: Path) -> dict[str, int]:
    """Bytes of the chunks of the text column, by file name."""
    found = {}
    for path in sorted(corpus.glob("*.parquet")):
        metadata = pq.ParquetFile(path).metadata
        leaf = metadata.schema.names.index("text")
        groups = range(metadata.num_row_groups)
        found[path.name] = sum(metadata.row_group(group).column(leaf).total_compressed_size for group in groups)
    return found


def curl(dataset: Dataset, units: tuple[Unit, ...], corpus: Path, *parallel: str) -> dict[str, float]:
    """As many bytes of every file as its text column has, from its beginning on, and nothing done with them."""
    wanted = wanted_bytes(corpus)
    arguments: list[str] = []
    for unit in units:
        url = f"{dataset.endpoint}/datasets/{dataset.root}/resolve/{dataset.revision}/{unit.path}"
        span = f"0-{wanted[Path(unit.path).name] - 1}"
        arguments += [*(["--next"] if arguments else []), "-sfL", "-r", span, "-o", os.devnull, url]
    started = time.monotonic()
    done = subprocess.run(["curl", *parallel, *arguments, "-w", "%{size_download}\n"], capture_output=True, text=True)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        raise BenchmarkError(f"curl ended with {done.returncode}: {done.stderr}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime}


def reader(dataset: Dataset, units: tuple[Unit, ...], corpus: Path, work: Path) -> dict[str, float]:
    """The way of a rank up to its batches of text: resolve, footer, spans, decoding, the UTF-8 check."""
    pa.set_cpu_count(1)
    started, text_bytes = time.monotonic(), 0
    before = time.process_time()
    locations: dict[str, str] = {}
    options = Options()
    intake, scratch = Intake(options), Scratch(work / "scratch")
    for unit, then in zip_longest(units, units[1:]):
        with open_unit(dataset, unit, options, scratch, locations, intake, then) as opened:
            text_bytes += sum(len(batch.data) for batch in opened.texts)
    return {
        "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - before,
        "text_bytes": text_bytes,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def rank(dataset: Dataset, units: tuple[Unit, ...], corpus: Path, work: Path) -> dict[str, float]:
    """The whole job, a supervisor with one rank, from the start of the processes to their end."""
    directory = work / "job"
    shutil.rmtree(directory, ignore_errors=True)
    write_benchmark_job(directory, corpus, ranks=1, tokenizer="r50k_base", endpoint=dataset.endpoint, repo=dataset.root)
    command = Command(("-m", "shard", "run", "--job", str(directory / "job")), frozenset(os.sched_getaffinity(0)))
    usage = measure([command], work / "rank.log")
    if "unit_failed" in (said := (work / "rank.log").read_text()):
        raise BenchmarkError(f"a unit failed: {said}")
    shutil.rmtree(directory)
    return {"seconds": usage.seconds, "cpu_seconds": usage.cpu_seconds, "peak_bytes": usage.peak_bytes}


def _stats(endpoint: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{endpoint}/-/stats", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def main() -> None:
    what, endpoint, repo, corpus, work = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5])
    dataset = hub_dataset(endpoint, repo)
    units = hub_units(dataset)
    contenders: dict[str, Callable[[], dict[str, float]]] = {
        "curl": lambda: curl(dataset, units, corpus),
        "curls": lambda: curl(dataset, units, corpus, "-Z", "--parallel-max", str(CONNECTIONS)),
        "reader": lambda: reader(dataset, units, corpus, work),
        "rank": lambda: rank(dataset, units, corpus, work),
    }
    before = _stats(endpoint)
    measured = contenders[what]()
    after = _stats(endpoint)
    fetched = {
        "resolves": after["resolve"] - before["resolve"],
        "fetched_bytes": after["cdn_bytes"] - before["cdn_bytes"],
    }
    print(json.dumps(measured | fetched))


if __name__ == "__main__":
    main()
