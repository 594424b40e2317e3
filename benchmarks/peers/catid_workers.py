"""The worker topology of catid's dataloader: reader → queue → tokenizers → queue → its DataPreparation.

Every stage but the writer is a process, and a document is a message. The end is told as there: the reader sends one
None, the first tokenizer to see it sends one None on and ends, and the writer stops at that None, whatever the other
tokenizers still hold; then it sends a None to each of them and waits for them. So the last documents can be lost, and
a tokenizer whose queue nobody empties can wait for ever. 0.1 % of the tokens go to a holdout, written by a process of
its own. Not here: downloading.
"""

from multiprocessing import Process, Queue

import pyarrow.parquet as pq
import tiktoken
from catid_dataloader import DataPreparation
from interface import ENCODING, Arguments, arguments

MESSAGES = 128
"""A queue's length."""
GROUPS = 4
"""Row groups read at a time."""
HOLDOUT = 0.001


def read(paths: list[str], texts: Queue) -> None:
    for path in paths:
        file = pq.ParquetFile(path)
        for first in range(0, file.num_row_groups, GROUPS):
            groups = list(range(first, min(first + GROUPS, file.num_row_groups)))
            for text in file.read_row_groups(groups, columns=["text"])["text"].to_pylist():
                texts.put(text)
    texts.put(None)


def tokenize(texts: Queue, train: Queue, holdout: Queue) -> None:
    encoding = tiktoken.get_encoding(ENCODING)
    total = held_out = 0
    while (text := texts.get()) is not None:
        ids = encoding.encode(text, disallowed_special=())
        total += len(ids)
        if held_out < int(total * HOLDOUT):
            held_out += len(ids)
            holdout.put(ids)
        else:
            train.put(ids)
    train.put(None)


def write(documents: Queue, directory: str) -> None:
    preparation = DataPreparation(directory, byte_tokens=False)
    while (ids := documents.get()) is not None:
        preparation.write_tokens(ids)
    preparation.destroy()


def run(given: Arguments) -> None:
    directories = {name: given.output / name for name in ("train", "holdout")}
    for directory in directories.values():
        directory.mkdir(parents=True)
    preparation = DataPreparation(str(directories["train"]), byte_tokens=False)
    texts, train, holdout = Queue(MESSAGES), Queue(MESSAGES), Queue(MESSAGES)
    reader = Process(target=read, args=(given.inputs, texts))
    holder = Process(target=write, args=(holdout, str(directories["holdout"])))
    tokenizers = [Process(target=tokenize, args=(texts, train, holdout)) for _ in range(given.workers)]
    for process in (reader, holder, *tokenizers):
        process.start()
    while (ids := train.get()) is not None:
        preparation.write_tokens(ids)
    for _ in tokenizers:
        texts.put(None)
    for process in (*tokenizers, reader):
        process.join()
    holdout.put(None)
    holder.join()
    preparation.destroy()


if __name__ == "__main__":
    run(arguments())
