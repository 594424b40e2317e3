"""What decoding and encoding cost by themselves: the stages of a rank, one after the other in one thread.

python -m benchmarks.stages JOB        # a directory as benchmarks.jobs writes it; prints JSON
"""

import json
import sys
import time
from pathlib import Path

import pyarrow as pa

from shard.records.frozen import read_record
from shard.records.job import Job
from shard.source.download import Scratch
from shard.source.opened import open_unit
from shard.tokenizer.checks import SampleCheck
from shard.tokenizer.load import load_tokenizer


def main() -> None:
    directory = Path(sys.argv[1]) / "job"
    pa.set_cpu_count(1)
    job = read_record(directory / "job.json", Job)
    tokenizer = load_tokenizer(job.tokenizer, directory / "tokenizer")
    decode = encode = 0.0
    text_bytes = 0
    for unit in job.units:
        sample = SampleCheck(tokenizer.reference)
        documents = 0
        before = time.process_time()
        with open_unit(job.dataset, unit, job.options, Scratch(directory / "scratch"), {}) as opened:
            for text in opened.texts:
                decoded = time.process_time()
                tokens = tokenizer.engine.encode(text)
                sample.check(text, tokens, first_document=documents)
                encoded = time.process_time()
                decode, encode = decode + decoded - before, encode + encoded - decoded
                documents += text.documents
                text_bytes += len(text.data)
                before = time.process_time()
            decode += time.process_time() - before
    print(json.dumps({"decode": decode / text_bytes, "encode": encode / text_bytes, "text_bytes": text_bytes}))


if __name__ == "__main__":
    main()
