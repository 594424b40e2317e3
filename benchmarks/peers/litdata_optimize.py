"""litdata: optimize() over Parquet files, one tensor of tokens a document, chunks for its TokensLoader."""

from collections.abc import Iterator
from functools import cache

import pyarrow.parquet as pq
import tiktoken
import torch
from interface import ENCODING, arguments
from litdata import TokensLoader, optimize

CHUNK_TOKENS = (1 << 13) * 4000
"""As its documentation on pretraining has it: about 64 MB of tokens."""


@cache
def encoding() -> tiktoken.Encoding:
    return tiktoken.get_encoding(ENCODING)


def tokens_of(path: str) -> Iterator[torch.Tensor]:
    for batch in pq.ParquetFile(path).iter_batches(columns=["text"]):
        for text in batch["text"].to_pylist():
            ids = encoding().encode_ordinary(text)
            ids.append(encoding().eot_token)
            yield torch.tensor(ids, dtype=torch.uint16)


def main() -> None:
    given = arguments()
    optimize(
        fn=tokens_of,
        inputs=given.inputs,
        output_dir=str(given.output / "chunks"),
        chunk_size=CHUNK_TOKENS,
        num_workers=given.workers,
        item_loader=TokensLoader(),
    )


if __name__ == "__main__":
    main()
