"""Every format of docs/export.md: its size, how fast it is written, how fast the trainer's own reader reads it.

python benchmarks/formats.py [--mb N] [--runs N] [--json FILE] [FORMAT…]

Prints a table in Markdown. The readers are those of scripts/test-interop.sh; a missing one is named.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import expect
from benchmarks.expect import Expect, Shards
from benchmarks.measure import BenchmarkError, Command, Usage, measure
from benchmarks.workspace import Corpus, Workspace
from tests.support.jobs import write_sample
from tests.support.readers import ReaderError, environment_of, python_of, run_reader

LENGTH = 2048
"""Tokens of a sample."""


@dataclass(frozen=True)
class Reader:
    """What reads a format."""

    script: str
    """tests/interop/readers/read_<script>.py, or one of benchmarks/plain.py."""
    what: str
    """That is called there."""
    verified: str
    """By tests/interop, against tiktoken's tokens of the same text."""
    expect: Expect
    plain: bool = False
    """Whether it needs no package of others."""

    @property
    def installed(self) -> bool:
        return self.plain or python_of(self.script) is not None


FORMATS: dict[str, tuple[Reader, ...]] = {
    "native": (
        Reader("native", "mapped payloads, windows in order", "every token", expect.windows_of_files, plain=True),
        Reader("loader", "`shard.loader.DataLoader`, in order", "every token", expect.batches_of_all, plain=True),
    ),
    "compressed": (
        Reader("frames", "our frames, windows in order", "every token", expect.windows_of_files, plain=True),
        Reader("anywhere", "our frames, random documents", "2,000 documents", expect.documents_anywhere, plain=True),
    ),
    "megatron": (
        Reader(
            "megatron",
            "`IndexedDataset`, by document",
            "every document; its builder writes the same bytes",
            expect.every_token,
        ),
        Reader("megatron_gpt", "`GPTDataset`", "every sample of an epoch", expect.epoch_of_samples),
    ),
    "nanogpt": (
        Reader("nanogpt", "its rule, windows in order", "windows and labels", expect.windows_of_all, plain=True),
    ),
    "datatrove": (Reader("datatrove", "`DatatroveFolderDataset`", "every window; positions", expect.windows_of_files),),
    "olmo": (Reader("olmo", "`NumpyFSLDataset`", "every window; the table", expect.windows_of_files),),
    "llmc": (
        Reader("llmc", "llm.c's rule", "every batch; modded-nanogpt's documents", expect.batches_of_files, plain=True),
    ),
    "mds": (
        Reader("mds", "`StreamingDataset`", "every sample; `MDSWriter` writes the same bytes", expect.windows_of_all),
    ),
    "litdata": (Reader("litdata", "`StreamingDataset(TokensLoader)`", "every block", expect.blocks_of_chunks),),
    "catid": (Reader("catid", "`DataLoader`", "every document; `DataVerifier`", expect.without_ends),),
    "parquet": (Reader("parquet", "`load_dataset`, by document", "every row", expect.every_token),),
    "parquet-packed": (
        Reader("parquet", "`load_dataset`", "every row; `default_data_collator`", expect.windows_of_all),
    ),
}
"""Name for `shardfleet export`, or `native` and `compressed` for the shards as they are → its readers."""


OURS = {"native": "", "compressed": "-compressed"}
"""Forms in which a run can write → what their shards are called here."""


@dataclass(frozen=True)
class Rates:
    """The best of several runs, as what others do on the machine only ever adds."""

    whole: float | None
    """A second; None where all runs took no longer than the start-up: the machine was too busy, or --mb too small."""
    by_cpu: float | None
    """A second of processor time."""


@dataclass(frozen=True)
class Written:
    """An export of the shards that the speeds are measured with."""

    directory: Path
    own_bytes: float
    """Per token of real text, that it adds to the disk."""
    all_bytes: float
    """The same with what it shares with the shards."""
    rates: Rates | None
    """Bytes of tokens a second; None for what is not exported."""


@dataclass
class Row:
    """A format and a reader of it."""

    format: str
    reader: str
    verified: str
    own_bytes: float
    all_bytes: float
    write: Rates | None
    read: Rates | None
    """Tokens a second; None where the reader is not installed."""


def make_shards(workspace: Workspace, corpus: Corpus, name: str, *more: str) -> Shards:
    """What a host with one rank writes; `more` are options of benchmarks/jobs.py."""
    job = workspace.job(corpus, ranks=1, tokenizer="r50k_base", name=name, more=more)
    command = Command(("-m", "shard", "run", "--job", str(job / "job")), frozenset(os.sched_getaffinity(0)))
    measure([command], workspace.directory / "log-formats")
    return Shards(job / "out" / "train")


def export(workspace: Workspace, name: str, shards: Shards, core: int) -> tuple[Path, Usage]:
    """Export by the command; returns the directory with the files, and what it took."""
    target = workspace.scratch(f"export-{name}") / "out"
    options: tuple[str, ...] = ()
    if name in ("mds", "parquet-packed"):
        options = ("--context-length", str(LENGTH))
    elif name == "catid":  # the shards for the start-up have four documents
        options = ("--local-ranks", "1")
    elif name == "llmc":  # two files at least
        options = ("--shard-size", str(min(100_000_000, -(-shards.tokens // 2))))
    arguments = ("-m", "provision", "export", str(shards.directory), "--format", name, "--to", str(target), *options)
    usage = measure([Command(arguments, frozenset({core}))], workspace.directory / "log-formats")
    return (target / "train" if (target / "train").is_dir() else target), usage


def write(workspace: Workspace, name: str, shards: dict[str, Shards], core: int, runs: int) -> Written:
    """Export real text for the size, and a lot of it for the speed: less what the command takes over nothing."""
    real, large = shards["real"], shards["large"]
    if name in OURS:
        form = OURS[name]
        # Without what a directory has once, however large it is.
        own, everything = disk_bytes(shards[f"real{form}"].directory, "[0-9]*")
        return Written(shards[f"large{form}"].directory, own / real.tokens, everything / real.tokens, None)
    own, everything = disk_bytes(export(workspace, name, real, core)[0])
    exports = {size: [export(workspace, name, shards[size], core) for _ in range(runs)] for size in ("tiny", "large")}
    rates = []
    for spent in (lambda usage: usage.seconds, lambda usage: usage.cpu_seconds):
        startup, taken = (min(spent(usage) for _, usage in exports[size]) for size in ("tiny", "large"))
        rates.append(large.payload_bytes / (taken - startup) if taken > startup else None)
    return Written(exports["large"][-1][0], own / real.tokens, everything / real.tokens, Rates(*rates))


def disk_bytes(directory: Path, files: str = "*") -> tuple[int, int]:
    """(bytes that no other name has, all bytes) of the files that a reader needs."""
    found = [path.stat() for path in directory.glob(files) if path.name != "export.json" and path.is_file()]
    return sum(stat.st_size for stat in found if stat.st_nlink == 1), sum(stat.st_size for stat in found)


def read(workspace: Workspace, reader: Reader, shards: Shards, directory: Path, core: int) -> tuple[str, Rates]:
    """(reader and version, tokens a second). Raises BenchmarkError where the tokens are not those of the shards, by
    number and sum of ids."""
    answer = workspace.scratch(f"read-{reader.script}") / "answer.json"
    arguments = ("--dtype", shards.dtype, "--length", str(LENGTH), "--eod", str(shards.eod))
    if reader.plain:
        timing = ("-m", "benchmarks.plain", reader.script, "time", str(directory), str(answer), *arguments)
        measure([Command(timing, frozenset({core}))], workspace.directory / "log-formats")
        facts = json.loads(answer.read_text())
    else:
        facts = run_reader(reader.script, "time", directory, answer, *arguments, cores=frozenset({core}))
    found, expected = (facts["tokens"], facts["id_sum"]), reader.expect(shards, directory, LENGTH)
    if found[0] != expected[0] or expected[1] not in (found[1], expect.UNKNOWN):
        raise BenchmarkError(f"{reader.script}: (tokens, sum of ids) {found}, not {expected}")
    return facts["reader"], Rates(facts["tokens"] / min(facts["passes"]), facts["tokens"] / min(facts["by_cpu"]))


def measured(options: argparse.Namespace, workspace: Workspace, core: int) -> tuple[list[Row], list[str]]:
    """(rows, readers that are not installed)."""
    sample = workspace.scratch("sample") / "text"
    write_sample(sample)
    corpora = {"real": Corpus(sample), "large": workspace.corpus(options.mb, 4), "tiny": workspace.nothing(4)}
    shards = {name: make_shards(workspace, corpus, name) for name, corpus in corpora.items()}
    if "compressed" in (options.formats or FORMATS):
        shards |= {
            f"{name}-compressed": make_shards(workspace, corpora[name], f"{name}-compressed", "--compress")
            for name in ("real", "large")
        }
    rows, missing = [], set()
    for name in options.formats or FORMATS:
        written = write(workspace, name, shards, core, options.runs)
        for reader in FORMATS[name]:
            print(f"{name}: {reader.what}", file=sys.stderr)
            said, rates = "", None
            if reader.installed:
                said, rates = read(workspace, reader, shards["large"], written.directory, core)
            else:
                missing.add(environment_of(reader.script))
            reads = reader.what if reader.plain or not said else f"{said}, {reader.what}"
            row = Row(name, reads, reader.verified, written.own_bytes, written.all_bytes, written.rates, rates)
            rows.append(row)
        shutil.rmtree(workspace.directory / "jobs" / f"export-{name}", ignore_errors=True)
    return rows, sorted(missing)


def table(rows: list[Row], *, by_cpu: bool = False) -> Iterator[str]:
    """Markdown."""
    yield "| format | read by | verified | bytes per token | write MB/s | read Mtok/s |"
    yield "|---|---|---|---:|---:|---:|"
    for row in rows:
        size = f"{row.all_bytes:.2f}"
        if row.format not in OURS and row.own_bytes < row.all_bytes:
            size = f"{row.own_bytes:.2f} beside the shards"
        write_rate, read_rate = (
            otherwise if rates is None else _millions(rates.by_cpu if by_cpu else rates.whole)
            for rates, otherwise in ((row.write, ""), (row.read, "not installed"))
        )
        yield f"| `{row.format}` | {row.reader} | {row.verified} | {size} | {write_rate} | {read_rate} |"


def _millions(rate: float | None) -> str:
    return "not measurable" if rate is None else f"{rate / 1e6:.{1 if rate < 10e6 else 0}f}"


def main() -> None:
    options = _options()
    workspace = Workspace(options.work.absolute(), None)
    workspace.hub_root.mkdir(parents=True, exist_ok=True)
    before = os.getloadavg()
    try:
        rows, missing = measured(options, workspace, min(os.sched_getaffinity(0)))
    except (BenchmarkError, ReaderError) as error:
        sys.exit(f"formats: {error}")
    finally:
        shutil.rmtree(workspace.directory / "jobs", ignore_errors=True)
    print("\n".join(table(rows, by_cpu=options.by_cpu)))
    if missing:
        print(f"\nnot read, for want of their readers (scripts/test-interop.sh): {', '.join(missing)}")
    if options.json is not None:
        setting = {"cores": os.cpu_count(), "load": (before, os.getloadavg()), "mb": options.mb, "runs": options.runs}
        written = {"machine": setting, "missing": missing, "formats": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(written, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"of {', '.join(FORMATS)}; default all")
    parser.add_argument("--mb", type=int, default=200, help="millions of bytes of text for the speeds (default 200)")
    parser.add_argument("--runs", type=int, default=3, help="exports of each, of which the fastest counts (default 3)")
    parser.add_argument("--by-cpu", action="store_true", help="speeds by processor time, on a machine with other work")
    parser.add_argument("--json", type=Path, help="write all measurements there")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "shardfleet-benchmarks",
        help="directory for corpora, which are kept, and exports (default %(default)s)",
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.formats) - set(FORMATS)):
        parser.error(f"{', '.join(unknown)}: not among {', '.join(FORMATS)}")
    return options


if __name__ == "__main__":
    main()
