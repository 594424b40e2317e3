"""Compressed shards: bytes per token, and what compressing, decoding and random documents cost, beside raw ones.

    python benchmarks/compressed.py                       # real text of this machine, a minute or two
    python benchmarks/compressed.py --data DIR            # documents from DIR/**/*.parquet, column "text"

One core, the page cache warm. MB/s are of raw token bytes (two a token) by processor time, the best of the rounds, in
which all variants take turns. Each reader works through whole shards; a random document is one of all, its frame not
decoded yet, by wall time, the median.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.corpus import real_documents
from shard.export.options import ExportOptions
from shard.export.run import export
from shard.formats.frames import Codec
from shard.formats.ranks import read_table
from shard.records.compression import DEFAULT_FRAME_TOKENS, DEFAULT_LEVEL, Compression
from shard.records.job import Holdout
from shard.sampling import sample_ranks
from shard.storage.framereader import FrameReader
from shard.storage.payloadfile import FramedFile
from shard.storage.stored import Stored, open_stored
from shard.tokenizer.ranks import RANK_FILES
from tests.support.jobs import files_dataset, files_units, make_job, rank_spec
from tests.support.text import rank_file
from tests.support.worker import write_all

ENCODING = "r50k_base"
VARIANTS = (
    *((DEFAULT_LEVEL, frame) for frame in (1 << 16, 1 << 17, DEFAULT_FRAME_TOKENS, 1 << 20)),
    *((level, DEFAULT_FRAME_TOKENS) for level in (1, 3, 6, 12, 16, 19)),
)
"""(level, tokens of a frame)."""
DOCUMENTS = 200


@dataclass
class Row:
    """One way of storing the same tokens."""

    name: str
    payload: float = 0.0
    """Bytes per token."""
    index: float = 0.0
    write: float | None = None
    """MB/s."""
    reads: list[float] = field(default_factory=list)
    """Seconds of processor time."""
    document: list[float] = field(default_factory=list)
    """Seconds."""


def write_files(directory: Path, data: Path | None, files: int) -> None:
    """The real documents of this machine in so many Parquet files: shards of about equal size."""
    documents = real_documents(data)
    directory.mkdir(parents=True)
    for number in range(files):
        pq.write_table(pa.table({"text": documents[number::files]}), directory / f"{number:05d}.parquet")


def write_shards(corpus: Path, root: Path) -> tuple[Stored, bytes]:
    """Raw shards of the corpus, and its rank table."""
    (root / "tokenizer").mkdir()
    (root / "tokenizer" / RANK_FILES[ENCODING].cache_name).write_bytes(rank_file(ENCODING))
    spec = rank_spec(ENCODING)
    write_all(make_job(corpus, root, tokenizer=spec, holdout=Holdout(rate=0.0)), root / "tokenizer")
    files = [(unit.path, unit.size, unit.content_id) for unit in files_units(corpus)]
    ranks = sample_ranks(files_dataset(corpus), files, spec, root / "tokenizer", {})
    return open_stored(root / "train"), ranks


@contextmanager
def timed(into: list[float], clock: Callable[[], float] = time.process_time) -> Iterator[None]:
    began = clock()
    yield
    into.append(clock() - began)


class Variant:
    """The shards compressed one way, in files of their own."""

    def __init__(self, stored: Stored, ranks: bytes, level: int, frame_tokens: int, root: Path) -> None:
        self.row = Row(f"level {level}, frames of {frame_tokens:,}")
        facts = stored.record
        compression = Compression(level=level, frame_tokens=frame_tokens, ranks_sha256="")
        table = read_table(ranks, facts.tokenizer.vocab_size, facts.dtype, where="ranks")
        self.codec = Codec(compression, table, facts.dtype)
        root.mkdir()
        self.paths = [root / f"{shard.stem}.zst" for shard in stored.shards]
        seconds: list[float] = []
        size = 0
        for shard, path in zip(stored.shards, self.paths, strict=True):
            tokens = np.fromfile(shard.payload, dtype=self.codec.dtype)
            file = FramedFile(path, self.codec, None)
            with timed(seconds):
                file.write(tokens)
                size += file.finish().bytes
        self.tokens = [shard.record.tokens for shard in stored.shards]
        self.row.payload = size / stored.tokens
        self.row.write = 2 * stored.tokens / sum(seconds) / 1e6

    def read(self) -> None:
        """Every token once."""
        with timed(self.row.reads):
            for path, tokens in zip(self.paths, self.tokens, strict=True):
                with FrameReader(path, self.codec, tokens) as reader:
                    for _ in reader.frames():
                        pass

    def random_documents(self, places: list[tuple[int, int, int]]) -> None:
        """Documents as (shard, start, stop), each from a frame that is not decoded yet."""
        for number, start, stop in places:
            with (
                FrameReader(self.paths[number], self.codec, self.tokens[number]) as reader,
                timed(self.row.document, time.perf_counter),
            ):
                reader.read_tokens(start, stop).sum()


class Raw:
    """The shards as they are, mapped."""

    def __init__(self, stored: Stored) -> None:
        self.row = Row("raw", payload=2.0)
        self._maps = [np.memmap(shard.payload, dtype="<u2", mode="r") for shard in stored.shards]

    def read(self) -> None:
        with timed(self.row.reads):
            for mapped in self._maps:
                np.array(mapped)

    def random_documents(self, places: list[tuple[int, int, int]]) -> None:
        for number, start, stop in places:
            with timed(self.row.document, time.perf_counter):
                self._maps[number][start:stop].sum()


def places_of(stored: Stored) -> list[tuple[int, int, int]]:
    """Random documents as (shard, start, stop) in tokens."""
    chance = random.Random(3)
    places = []
    ends = [np.cumsum(shard.lengths(), dtype=np.int64) for shard in stored.shards]
    for _ in range(DOCUMENTS):
        number = chance.randrange(len(ends))
        document = chance.randrange(len(ends[number]))
        start = int(ends[number][document - 1]) if document else 0
        places.append((number, start, int(ends[number][document])))
    return places


def catid_row(stored: Stored, root: Path) -> Row:
    """catid's own format, a frame of byte planes for each document, its index in it."""
    export([stored.directory], "catid", root, ExportOptions())
    sizes = {kind: sum(path.stat().st_size for path in root.rglob(f"{kind}_*.bin")) for kind in ("data", "index")}
    # It stores no end-of-document ids, which are counted all the same.
    return Row("catid", payload=sizes["data"] / stored.tokens, index=sizes["index"] / stored.tokens)


def shown(row: Row, tokens: int) -> list[str]:
    """The cells of a row."""
    return [
        row.name,
        f"{row.payload:.3f}",
        f"{row.payload + row.index:.3f}",
        "" if row.write is None else f"{row.write:,.0f}",
        f"{2 * tokens / min(row.reads) / 1e6:,.0f}" if row.reads else "",
        f"{median(row.document) * 1e6:,.0f}" if row.document else "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="directory of Parquet files with documents in a column 'text'")
    parser.add_argument("--files", type=int, default=10, help="files that the documents are spread over (default 10)")
    parser.add_argument("--rounds", type=int, default=5, help="of reading (default 5)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with TemporaryDirectory(prefix="shardfleet-compressed-") as directory:
        root = Path(directory)
        write_files(root / "corpus", options.data, options.files)
        stored, ranks = write_shards(root / "corpus", root)
        variants = [
            Variant(stored, ranks, level, frame, root / f"{level}-{frame}") for level, frame in dict.fromkeys(VARIANTS)
        ]
        raw, places = Raw(stored), places_of(stored)
        for _ in range(options.rounds):
            for contender in (raw, *variants):
                contender.read()
        for contender in (raw, *variants):
            contender.random_documents(places)
        rows = [raw.row, *(variant.row for variant in variants)]
        index = sum(path.stat().st_size for path in stored.directory.glob("*.idx")) / stored.tokens
        for row in rows:
            row.index = index
        rows.append(catid_row(stored, root / "catid"))
    print(
        f"{stored.documents:,} documents, {stored.tokens:,} tokens of {ENCODING} in {options.files} shards; "
        f"rank table {len(ranks):,} bytes a directory, not counted\n"
    )
    print("| | bytes/token | with index | compress MB/s | decode MB/s | a random document, µs |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in rows:
        print(f"| {' | '.join(shown(row, stored.tokens))} |")
    if options.json is not None:
        facts = {"tokens": stored.tokens, "rows": [shown(row, stored.tokens) for row in rows]}
        options.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
