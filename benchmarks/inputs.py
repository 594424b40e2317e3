"""A corpus in the forms that contenders read which do not read Parquet. Making them is not measured.

python -m benchmarks.inputs CORPUS DIRECTORY jsonl|jsonl.gz
"""

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq


def write_inputs(corpus: Path, directory: Path, kind: str) -> None:
    """Write `all.jsonl` with the field `text`, or one `*.jsonl.gz` a Parquet file with `id`, `text` and `source`."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = sorted(corpus.glob("*.parquet"))
    if kind == "jsonl":
        with (directory / "all.jsonl").open("w", encoding="utf-8") as lines:
            for path in paths:
                lines.writelines(_line({"text": text}) for text in _texts(path))
        return
    for path in paths:
        with gzip.open(directory / f"{path.stem}.jsonl.gz", "wt", encoding="utf-8", compresslevel=6) as lines:
            lines.writelines(
                _line({"id": f"{path.stem}-{row}", "text": text, "source": "benchmark"})
                for row, text in enumerate(_texts(path))
            )


def _texts(path: Path) -> Iterator[str]:
    for batch in pq.ParquetFile(path).iter_batches(columns=["text"]):
        yield from batch["text"].to_pylist()


def _line(record: dict[str, str]) -> str:
    # Without escapes: shorter, and quicker to read for those who have to.
    return json.dumps(record, ensure_ascii=False) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("kind", choices=["jsonl", "jsonl.gz"])
    options = parser.parse_args()
    write_inputs(options.corpus, options.directory, options.kind)


if __name__ == "__main__":
    main()
