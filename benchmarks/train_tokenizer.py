"""Training of tokenizers: does text come back, are two trainings equal, is memory flat?

    python -m benchmarks.train_tokenizer [--data DIR] [--mb 60] [--work DIR]

500 real documents, each with emoji and CJK added, are kept apart; the rest is cut into 10 thousand and into a million
samples of the same text. A tokenizer of either kind is trained on both, in processes of their own, on the first twice.
Exit code 1 when a document of the 500 does not come back to the last character, has an <unk>, two trainings differ in a
byte, or a million samples take more than 1.3 times the memory of ten thousand.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import tokenizers

from benchmarks.corpus import real_documents

HELD_OUT = 500
SAMPLES = (10_000, 1_000_000)
MOST_MEMORY = 1.3
ADDED = (
    " 👩‍👩‍👧‍👦🏳️‍🌈 👍🏽",
    "\n漢字かな交じり文。",
    " 中文没有空格但是有标点！",
    " 한국어 텍스트 🇩🇪",
    "\t𠀋 \U0001f9ff ﷽",
)
_GROUP = 10_000
# In a small process of its own: a child begins with the peak of the one that started it.
_MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


@dataclass(frozen=True)
class Run:
    """One training."""

    kind: str
    samples: int
    seconds: float
    peak_mb: float
    out: Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="Parquet files with a column text; else what this machine has.")
    parser.add_argument("--mb", type=int, default=60, help="Text to train on, repeated where there is less.")
    parser.add_argument("--vocab-size", type=int, default=16_000)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    documents = [text + ADDED[number % len(ADDED)] for number, text in enumerate(real_documents(options.data))]
    held_out, rest = documents[:HELD_OUT], documents[HELD_OUT:]
    failures: list[str] = []
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        text = _repeated(rest, options.mb * 1_000_000)
        corpora = {samples: _write(Path(work) / str(samples), text, samples) for samples in SAMPLES}
        for kind in ("bpe", "sentencepiece"):
            runs = [_train(kind, samples, corpora[samples], Path(work), options.vocab_size) for samples in SAMPLES]
            again = _train(kind, SAMPLES[0], corpora[SAMPLES[0]], Path(work) / "again", options.vocab_size)
            failures += [f"{kind}: {failure}" for failure in _judge(runs, again, held_out)]
    for failure in failures:
        print(failure)
    sys.exit(1 if failures else 0)


def _judge(runs: Sequence[Run], again: Run, held_out: Sequence[str]) -> Iterator[str]:
    for run in runs:
        back, unknown = _come_back(run.out / "tokenizer.json", held_out)
        print(
            f"{run.kind:14} {run.samples:>9,} samples: {run.seconds:6.1f} s, {run.peak_mb:6.1f} MB at most, "
            f"{back} of {len(held_out)} come back, {unknown} with <unk>",
            flush=True,
        )
        if back != len(held_out) or unknown:
            yield f"{len(held_out) - back} documents do not come back, {unknown} have an <unk>"
    files = {path.name for path in runs[0].out.iterdir()}
    if any((runs[0].out / name).read_bytes() != (again.out / name).read_bytes() for name in files):
        yield "two trainings differ"
    ratio = runs[1].peak_mb / runs[0].peak_mb
    print(f"{runs[0].kind:14} trained again: {len(files)} files compared; memory {ratio:.2f} times", flush=True)
    if ratio > MOST_MEMORY:
        yield f"{ratio:.2f} times the memory for {runs[1].samples:,} samples"


def _train(kind: str, samples: int, corpus: Path, work: Path, vocab_size: int) -> Run:
    out = work / f"{kind}-{samples}"
    command = [sys.executable, "-m", "provision", "tokenizer", "train", "--dataset", str(corpus), "--kind", kind]
    command += ["--out", str(out), "--vocab-size", str(vocab_size), "--num-samples", str(10 * samples)]
    if kind == "sentencepiece":
        command.append("--model")
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", _MEASURE, *command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: ended with {done.returncode}\n{done.stderr}")
    peak_kb = int(done.stdout.splitlines()[-1])
    return Run(kind, samples, time.monotonic() - started, peak_kb / 1024, out)


def _come_back(path: Path, texts: Sequence[str]) -> tuple[int, int]:
    """(texts that come back to the last character, texts with an <unk>)."""
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    back = sum(tokenizer.decode(one) == text for one, text in zip(ids, texts, strict=True))
    return back, sum(tokenizer.token_to_id("<unk>") in one for one in ids)


def _repeated(documents: Sequence[str], size: int) -> str:
    text = "\n".join(documents)
    return (text * (size // len(text.encode()) + 1))[:size]


def _write(directory: Path, text: str, samples: int) -> Path:
    directory.mkdir()
    length = len(text) // samples
    with pq.ParquetWriter(directory / "train.parquet", pa.schema({"text": pa.string()})) as writer:
        for first in range(0, samples, _GROUP):
            rows = [text[at * length : (at + 1) * length] for at in range(first, min(first + _GROUP, samples))]
            writer.write_table(pa.table({"text": rows}))
    return directory


if __name__ == "__main__":
    main()
