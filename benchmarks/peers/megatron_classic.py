"""Megatron's preprocess_data: JSON lines → a pool of processes with a Hugging Face tokenizer → megatron-core's builder.

A document is a task of the pool, 32 to a message, and goes to the builder as a Python list, as there.
"""

import json
import multiprocessing
from itertools import chain

from interface import EOD_ID, arguments
from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder
from tokenizers import Tokenizer

LINES_TO_A_MESSAGE = 32

tokenizer: Tokenizer


def load(path: str) -> None:
    global tokenizer
    tokenizer = Tokenizer.from_file(path)


def encode(line: str) -> list[int]:
    ids = tokenizer.encode(json.loads(line)["text"]).ids
    ids.append(EOD_ID)
    return ids


def main() -> None:
    given = arguments()
    load(given.tokenizer)
    prefix = given.output / "text_document"
    builder = IndexedDatasetBuilder(
        str(prefix.with_suffix(".bin")), dtype=DType.optimal_dtype(tokenizer.get_vocab_size())
    )
    with multiprocessing.Pool(given.workers, load, (given.tokenizer,)) as pool:
        lines = chain.from_iterable(open(path, encoding="utf-8") for path in given.inputs)  # noqa: PTH123, SIM115
        for ids in pool.imap(encode, lines, LINES_TO_A_MESSAGE):
            builder.add_document(ids, [len(ids)])
    builder.finalize(str(prefix.with_suffix(".idx")))


if __name__ == "__main__":
    main()
