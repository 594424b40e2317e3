"""Measures reading from a Hub over links of several kinds; see docs/network.md.

python benchmarks/network.py [LINK…] [--runs N] [--seconds S] [--json FILE]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from benchmarks.measure import HUB_PROGRAM, ROOT, BenchmarkError, hub_elsewhere
from benchmarks.netclient import wanted_bytes
from benchmarks.workspace import Corpus, Workspace
from tests.support.delaylink import FAR_ADDRESS, Link, Shape, delay_link
from tests.support.netns_tools import UnavailableError

CONTENDERS = ("curl", "curls", "reader", "rank")
LINKS = {
    f"{rate}-{delay}{'-loss' if loss else ''}": Shape(bits, seconds, loss)
    for rate, bits in (("200mbit", 200e6), ("1gbit", 1e9))
    for delay, seconds in (("0.2ms", 0.0002), ("40ms", 0.040))
    for loss in (0.0, 0.005)
}
_FILE_MEGABYTES = 60
"""Of text, per source file: about 36 MB of compressed text."""
_TEXT_PER_BYTE = 1.65
"""Bytes of text in a byte of its column, about: to choose how much is read."""
_LOSSY_PART = 0.25
"""Of the data, where packets are lost: one connection brings little there."""
_LEAST, _MOST_FETCHED = 0.95, 1.02


def measure_link(name: str, workspace: Workspace, runs: int, seconds: float, console: Console) -> dict[str, Any]:
    """All contenders over one link, taking turns, in another order every round."""
    shape = LINKS[name]
    full = shape.bits_per_second / 8e6 * seconds * (_LOSSY_PART if shape.loss else 1)
    files = max(2, round(full * _TEXT_PER_BYTE / _FILE_MEGABYTES))
    corpus = workspace.corpus(files * _FILE_MEGABYTES, files)
    empty = workspace.nothing(1)
    found: dict[str, list[dict[str, float]]] = {contender: [] for contender in (*CONTENDERS, "start")}
    with delay_link(shape) as link, _hub_at_far_end(link, workspace.hub_root) as endpoint:
        # Once for nothing: the server hashes files, the kernel reads them.
        for warmed in (empty, corpus):
            _run(link, "curls", endpoint, warmed, workspace)
        for turn in range(runs):
            for contender in CONTENDERS[turn % 4 :] + CONTENDERS[: turn % 4]:
                with console.status(f"{name}: {contender}, round {turn + 1} of {runs}"):
                    found[contender].append(_run(link, contender, endpoint, corpus, workspace))
            found["start"].append(_run(link, "rank", endpoint, empty, workspace))
    return _summary(name, found, corpus)


def _summary(name: str, found: dict[str, list[dict[str, float]]], corpus: Corpus) -> dict[str, Any]:
    wanted = sum(wanted_bytes(corpus.directory).values())
    start = statistics.median(run["seconds"] for run in found["start"])
    start_cpu = statistics.median(run["cpu_seconds"] for run in found["start"])
    for run in found["rank"]:
        run["seconds"] -= start
        run["cpu_seconds"] -= start_cpu
    rates = {contender: [wanted / run["seconds"] for run in found[contender]] for contender in CONTENDERS}
    fastest = [max(pair) for pair in zip(rates["curl"], rates["curls"], strict=True)]
    return {
        "link": name,
        "files": len(corpus.files),
        "wanted_bytes": wanted,
        "text_bytes": corpus.text_bytes,
        "rank_start_seconds": start,
        "rates": rates,
        "ratios": {
            contender: [rate / most for rate, most in zip(rates[contender], fastest, strict=True)]
            for contender in ("reader", "rank")
        },
        "resolves_per_file": max(run["resolves"] for run in found["reader"] + found["rank"]) / len(corpus.files),
        "fetched_per_wanted": max(run["fetched_bytes"] for run in found["reader"] + found["rank"]) / wanted,
        "peak_bytes": max(run["peak_bytes"] for run in found["rank"]),
        "runs": found,
    }


def _run(link: Link, contender: str, endpoint: str, corpus: Corpus, workspace: Workspace) -> dict[str, float]:
    work = workspace.directory / "jobs" / "network"
    work.mkdir(parents=True, exist_ok=True)
    arguments = (contender, endpoint, corpus.repo, str(corpus.directory), str(work))
    argv = link.near_argv(sys.executable, "-m", "benchmarks.netclient", *arguments)
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchmarkError(f"{contender} ended with {done.returncode}:\n{done.stderr}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


@contextmanager
def _hub_at_far_end(link: Link, directory: Path) -> Iterator[str]:
    argv = link.far_argv(sys.executable, "-c", HUB_PROGRAM, str(directory), FAR_ADDRESS)
    with hub_elsewhere(argv) as endpoint:
        yield endpoint


def table(summaries: list[dict[str, Any]]) -> Table:
    """Medians; rates in 10^6 bytes of the text column's chunks per second."""
    columns = (
        "link",
        "curl",
        "8 curls",
        "reader",
        "rank",
        "reader/curl",
        "rank/curl",
        "resolves",
        "fetched",
        "CPU s/GB",
    )
    shown = Table(title="MB/s of the text column's compressed bytes; medians")
    for column in columns:
        shown.add_column(column, justify="left" if column == "link" else "right", no_wrap=True)
    for one in summaries:
        rates = [f"{statistics.median(one['rates'][contender]) / 1e6:.1f}" for contender in CONTENDERS]
        ratios = [f"{statistics.median(one['ratios'][contender]):.2f}" for contender in ("reader", "rank")]
        cpu = statistics.median(run["cpu_seconds"] for run in one["runs"]["reader"]) / one["wanted_bytes"] * 1e9
        counts = (f"{one['resolves_per_file']:.2f}", f"{one['fetched_per_wanted']:.4f}", f"{cpu:.2f}")
        shown.add_row(one["link"], *rates, *ratios, *counts)
    return shown


def verdicts(summaries: list[dict[str, Any]]) -> list[str]:
    """What was to be reached, and whether it was."""
    said = []
    for one in summaries:
        ratio = statistics.median(one["ratios"]["reader"])
        if "40ms" in one["link"] and "loss" not in one["link"]:
            said.append(
                f"{_mark(ratio >= _LEAST)}: {one['link']}: reader / the faster curl {ratio:.3f}, at least {_LEAST}"
            )
        resolves, fetched = one["resolves_per_file"], one["fetched_per_wanted"]
        said.append(
            f"{_mark(resolves <= 1 and fetched <= _MOST_FETCHED)}: {one['link']}: {resolves:.2f} resolves a file, "
            f"at most 1; fetched {fetched:.4f} of what is wanted, at most {_MOST_FETCHED}"
        )
    return said


def _mark(met: bool) -> str:
    return "met" if met else "MISSED"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("links", nargs="*", metavar="LINK", help=f"of {', '.join(LINKS)}; default all")
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--seconds", type=float, default=15.0, help="what a full link would take (default 15)")
    parser.add_argument("--data", type=Path, help="directory of Parquet files with real documents in a column 'text'")
    parser.add_argument("--json", type=Path, help="write all measurements there")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "shardfleet-benchmarks",
        help="directory for corpora, which are kept, and shards (default %(default)s)",
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.links) - set(LINKS)):
        parser.error(f"{', '.join(unknown)}: not among {', '.join(LINKS)}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    workspace = Workspace(options.work.absolute(), options.data.absolute() if options.data else None)
    summaries: list[dict[str, Any]] = []
    try:
        for name in LINKS:
            if not options.links or name in options.links:
                summaries.append(measure_link(name, workspace, options.runs, options.seconds, console))
                # Each at once: what is measured is not lost when a later link fails.
                if options.json is not None:
                    options.json.write_text(json.dumps(summaries, indent=1) + "\n")
    except (BenchmarkError, UnavailableError) as error:
        sys.exit(f"benchmarks: {error}")
    console.print(table(summaries))
    for said in verdicts(summaries):
        console.print(said, highlight=False)
    console.print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", highlight=False)


if __name__ == "__main__":
    main()
