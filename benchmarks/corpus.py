"""A corpus shaped like FineWeb, of any size, from a few thousand real documents.

A new document is the first half of one real document and the second half of another, cut between words. No pair is used
twice, so words and sentences are real and no document repeats.

    python -m benchmarks.corpus DIRECTORY --mb 800 --files 16
"""

import argparse
import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.workspace import real_data
from tests.support.text import library_documents

GROUP_ROWS = 1000
_SOURCE_DOCUMENTS = 4000


def write_corpus(directory: Path, *, megabytes: int, files: int, data: Path | None = None, seed: int = 0) -> None:
    """Write `files` Parquet files with about `megabytes` (10^6 bytes) of text together, and `corpus.json` about them.

    Args:
        directory: made if need be.
        megabytes: UTF-8 bytes of text, in millions.
        files: number of files of about equal size.
        data: Parquet files with a column `text` to take documents from; None for what this machine has.
        seed: another seed gives other documents.
    """
    halves = _halves(real_documents(data))
    random = np.random.default_rng(seed)
    groups = chain.from_iterable(_groups(halves, random))
    directory.mkdir(parents=True, exist_ok=True)
    documents = text_bytes = 0
    for number in range(files):
        path = directory / f"train-{number:05d}-of-{files:05d}.parquet"
        target = megabytes * 1_000_000 * (number + 1) // files
        writer: pq.ParquetWriter | None = None
        while text_bytes < target or writer is None:
            table = _table(next(groups), random)
            text_bytes += pc.sum(pc.binary_length(table["text"])).as_py()
            documents += table.num_rows
            writer = writer or pq.ParquetWriter(path, table.schema, compression="snappy")
            writer.write_table(table, row_group_size=GROUP_ROWS)
        writer.close()
    facts = {
        "documents": documents,
        "text_bytes": text_bytes,
        "parquet_bytes": sum(path.stat().st_size for path in directory.glob("*.parquet")),
    }
    (directory / "corpus.json").write_text(json.dumps(facts))


def write_one_document(directory: Path, files: int) -> None:
    """Files of one short document each, to measure what everything costs but the work."""
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        pq.write_table(pa.table({"text": [f"document {number}"]}), directory / f"train-{number:05d}.parquet")
    (directory / "corpus.json").write_text(json.dumps({"documents": files, "text_bytes": 10 * files}))


def real_documents(data: Path | None) -> list[str]:
    """What corpora are made from: documents of `data`, else of the shared test data, else of the standard library."""
    source = real_data(data)
    if source is None:
        return list(islice(library_documents(), _SOURCE_DOCUMENTS))
    paths = sorted(source.rglob("*.parquet"))
    texts = (text for path in paths for text in pq.read_table(path, columns=["text"])["text"].to_pylist())
    return list(islice((text for text in texts if text and len(text) > 100), _SOURCE_DOCUMENTS))


def _halves(documents: list[str]) -> tuple[pa.Array, pa.Array]:
    """([documents] first halves, [documents] second halves), cut at the last space before the middle."""
    cuts = [document.rfind(" ", 0, len(document) // 2) + 1 for document in documents]
    pairs = list(zip(documents, cuts, strict=True))
    return pa.array([text[:cut] for text, cut in pairs]), pa.array([text[cut:] for text, cut in pairs])


def _groups(halves: tuple[pa.Array, pa.Array], random: np.random.Generator) -> Iterator[Iterator[pa.Array]]:
    """Row groups of texts, until every pair of two documents has been used."""
    count = len(halves[0])
    # Document i with document i + shift: another pair for every (i, shift).
    for shift in random.permutation(np.arange(1, count)):
        first = random.permutation(count)
        texts = pc.binary_join_element_wise(
            halves[0].take(pa.array(first)), halves[1].take(pa.array((first + shift) % count)), ""
        )
        yield (texts[start : start + GROUP_ROWS] for start in range(0, count, GROUP_ROWS))


def _table(texts: pa.Array, random: np.random.Generator) -> pa.Table:
    """The columns of FineWeb around the texts."""
    rows = len(texts)
    numbers = random.integers(0, 1 << 63, rows)
    return pa.table(
        {
            "text": texts,
            "id": [f"<urn:uuid:{number:032x}>" for number in numbers],
            "dump": ["CC-MAIN-2024-10"] * rows,
            "url": [f"https://example.org/{number % 9973}/{number:x}" for number in numbers],
            "language": ["en"] * rows,
            "language_score": random.uniform(0.65, 1.0, rows),
            "token_count": pc.divide(pc.binary_length(texts), 4),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--mb", type=int, default=800, help="millions of bytes of text (default 800)")
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--data", type=Path, help="directory of Parquet files with real documents in a column 'text'")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one-document", action="store_true", help="one short document a file instead")
    options = parser.parse_args()
    if options.one_document:
        write_one_document(options.directory, options.files)
        return
    write_corpus(options.directory, megabytes=options.mb, files=options.files, data=options.data, seed=options.seed)


if __name__ == "__main__":
    main()
