"""What is in a corpus, and what its tokens must be, by tiktoken itself. Written once, beside the corpus.

python -m benchmarks.truth CORPUS VOCABULARY
"""

import argparse
import hashlib
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import tiktoken

from benchmarks.counts import Count

NAME = "truth.json"
_THREADS = 2


def write_truth(corpus: Path, vocabulary: Path) -> None:
    """Write documents, distinct documents, words, distinct words, and the Count of all tokens."""
    # Read when an encoding is first asked for.
    os.environ["TIKTOKEN_CACHE_DIR"] = str(vocabulary)
    encoding = tiktoken.get_encoding("r50k_base")
    documents: set[bytes] = set()
    words: set[str] = set()
    count, all_words = Count(), 0
    for path in sorted(corpus.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(columns=["text"]):
            texts = batch["text"].to_pylist()
            for text in texts:
                documents.add(hashlib.blake2b(text.encode(), digest_size=16).digest())
                found = text.split()
                all_words += len(found)
                words.update(found)
            ids = encoding.encode_ordinary_batch(texts, num_threads=_THREADS)
            count += Count(len(ids), sum(map(len, ids)), sum(map(sum, ids)))
    truth = {"distinct_documents": len(documents), "words": all_words, "distinct_words": len(words)} | count.as_dict()
    (corpus / NAME).write_text(json.dumps(truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("vocabulary", type=Path)
    options = parser.parse_args()
    write_truth(options.corpus, options.vocabulary)


if __name__ == "__main__":
    main()
