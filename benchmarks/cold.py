"""What encoding alone does on text that it has not seen, and on text that it has.

The engine keeps the tokens of words it has met, and a corpus made from some thousand real documents repeats their
words; so the distinct documents that a corpus was made from are encoded in a fresh process, one thread, and again.

python -m benchmarks.cold JOB [--data DIR]    # prints JSON
"""

import argparse
import json
import time
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.corpus import real_documents
from shard.records.job import Job
from shard.tokenizer.load import load_tokenizer
from tests.support.batches import text_batch_of

_BATCH = 250
"""Documents: about a megabyte or two."""
_PASSES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", type=Path, help="directory of a job, for its tokenizer")
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    documents = real_documents(options.data)
    batches = [text_batch_of(documents[i : i + _BATCH]) for i in range(0, len(documents), _BATCH)]
    text_bytes = sum(len(batch.data) for batch in batches)
    job = msgspec.json.decode((options.job / "job.json").read_bytes(), type=Job)
    engine = load_tokenizer(job.tokenizer, options.job / "tokenizer").engine
    rates = []
    for _ in range(_PASSES):
        began = time.thread_time()
        tokens = [engine.encode(batch) for batch in batches]
        rates.append(text_bytes / (time.thread_time() - began))
    print(
        json.dumps(
            {
                "documents": len(documents),
                "text_bytes": text_bytes,
                "distinct_words": len(set().union(*(document.split() for document in documents))),
                "tokens": int(np.sum([len(batch.tokens) for batch in tokens])),
                "rates": rates,
            }
        )
    )


if __name__ == "__main__":
    main()
