"""MinHash: documents a second on one core, and which pairs are found, beside datasketch at equal bands.

    benchmarks/peers.sh datasketch && python -m benchmarks.dedup [--data DIR] [--work DIR] [--each 300] [--runs 3]

Real documents with planted copies: `each` exact ones, as many with one to four words of 300 changed, as many with eight
to twenty. Both sides make 64 values of word 5-grams and compare what shares one of 8 bands of 8 rows. Time is the
processor's, from text to signatures (ours to exact keys as well), of the fastest run; of datasketch it is
`MinHash.bulk` over grams that a regular expression has cut. Whole documents are timed, not cut ones. Exit code 1 when
ours is less than three times as fast, misses an exact copy, or finds pairs of which less than 96 % are truly alike.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.corpus import real_documents
from shard.batch import TextBatch
from shard.dedup.clusters import alike
from shard.dedup.pairs import KeyStore
from shard.records.dedup import Settings
from shard.signatures.hashes import exact_keys
from shard.signatures.minhash import band_keys, has_signature, signatures_of
from shard.signatures.words import words_of
from tests.support.batches import text_batch_of
from tests.support.copies import Planted, jaccard, planted

SETTINGS = Settings()
LEAST_SPEEDUP = 3.0
LEAST_PRECISION = 0.96
_BATCH = 100
_BINS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)

Pairs = set[tuple[int, int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="Parquet files with a column text; else what this machine has.")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "shardfleet-benchmarks")
    parser.add_argument("--each", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    texts = real_documents(options.data)
    copies = planted(texts, options.each)
    python = options.work / "peers" / "datasketch" / "bin" / "python"
    if not python.exists():
        raise SystemExit(f"{python}: not there; make it with: benchmarks/peers.sh --work {options.work} datasketch")
    ours, theirs = [], []
    for _ in range(options.runs):
        ours.append(_our_seconds(texts))
        theirs.append(_datasketch(python, texts)[0])
    speedup = min(theirs) / min(ours)
    size = sum(len(text.encode()) for text in texts)
    for name, seconds in (("shardfleet", min(ours)), ("datasketch", min(theirs))):
        print(f"{name}: {len(texts) / seconds:8,.0f} documents/s a core, {size / seconds / 1e6:6.1f} MB/s")
    print(f"{speedup:.1f} times as fast\n")
    compared, found, equal = _our_pairs(copies)
    precision = _show(copies, compared, found, _datasketch(python, copies.documents)[1])
    exact = sum((min(pair), max(pair)) in equal for pair in copies.exact)
    print(f"exact copies: {exact} of {len(copies.exact)}; of the pairs found {precision:.3f} are truly alike")
    good = speedup >= LEAST_SPEEDUP and exact == len(copies.exact) and precision >= LEAST_PRECISION
    sys.exit(0 if good else 1)


def _our_seconds(texts: Sequence[str]) -> float:
    """Processor time from text to signatures and exact keys."""
    batches = [text_batch_of(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
    began = time.process_time()
    for batch in batches:
        _signed(batch)
    return time.process_time() - began


def _signed(batch: TextBatch) -> tuple[np.ndarray, np.ndarray]:
    words = words_of(batch)
    return exact_keys(words), signatures_of(words, SETTINGS.scheme)


def _our_pairs(copies: Planted) -> tuple[Pairs, Pairs, Pairs]:
    """(pairs that share a band, those whose signatures are alike as well, those of equal normal form)."""
    keys, signatures = _signed(text_batch_of(copies.documents))
    banded = band_keys(signatures, SETTINGS)
    able = np.flatnonzero(has_signature(banded, SETTINGS))
    with tempfile.TemporaryDirectory() as work, KeyStore(Path(work), SETTINGS.bands) as store:
        store.add_exact(0, keys)
        equal = store.equal()
        store.add_banded(able, banded[able])
        documents = store.candidate_documents()
        compared = np.concatenate([np.empty((0, 2), dtype=np.int64), *store.candidates()])
    passed = compared[alike(compared, documents, signatures[documents], SETTINGS.least_equal)]
    return _set(compared), _set(passed), _set(equal)


def _set(pairs: np.ndarray) -> Pairs:
    return set(map(tuple, pairs.tolist()))


def _datasketch(python: Path, texts: Sequence[str]) -> tuple[float, Pairs]:
    """(processor time for signatures, pairs that share a band)."""
    script = Path(__file__).with_name("peers") / "datasketch_minhash.py"
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(list(texts), file)
        file.flush()
        numbers = map(str, (SETTINGS.scheme.num_perm, SETTINGS.bands, SETTINGS.rows, SETTINGS.scheme.ngram))
        command = [str(python), str(script), file.name, *numbers]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return said["seconds"], {(min(pair), max(pair)) for pair in said["pairs"]}


def _show(copies: Planted, compared: Pairs, found: Pairs, theirs: Pairs) -> float:
    """Print what was found beside what the curve says. Returns the share of found pairs that are truly alike."""
    pairs = [(min(pair), max(pair)) for pair in [*copies.near, *copies.mild]]
    true = np.array([jaccard(*(copies.documents[one] for one in pair)) for pair in pairs])
    print(
        "planted pairs by true J: share a band (curve, ours, datasketch), then alike by their signatures (curve, ours)"
    )
    for low, high in pairwise(_BINS):
        some = [number for number in range(len(pairs)) if low <= true[number] < high]
        if some:
            curve = sum(SETTINGS.compared(true[number]) for number in some)
            passed = sum(SETTINGS.compared(true[number]) * SETTINGS.passed(true[number]) for number in some)
            ours, others, kept = (sum(pairs[number] in side for number in some) for side in (compared, theirs, found))
            print(
                f"  {low:.2f} to {high:.2f}: {len(some):3} pairs, {curve:6.1f} {ours:4} {others:4}"
                f"   {passed:6.1f} {kept:4}"
            )
    similar = [jaccard(copies.documents[a], copies.documents[b]) for a, b in found]
    return sum(one >= SETTINGS.threshold for one in similar) / max(1, len(similar))


if __name__ == "__main__":
    main()
