"""OLMo-core's fixed-length dataset: windows of every file; and the documents it finds, by end-of-document ids and by
`.csv.gz`."""

from collections.abc import Iterator, Sequence

import numpy as np
from harness import Request, main
from olmo_core.data import NumpyFSLDatasetConfig, TokenizerConfig
from olmo_core.data.utils import iter_document_indices


def read(request: Request) -> Iterator[object]:
    dataset = NumpyFSLDatasetConfig(
        paths=[str(path) for path in sorted(request.directory.glob("*.npy"))],
        sequence_length=request.length,
        tokenizer=TokenizerConfig(
            vocab_size=1 << 16 if request.itemsize == 2 else 1 << 17,
            eos_token_id=request.eod,
            pad_token_id=request.eod,
        ),
        work_dir=str(request.scratch / "work"),
    ).build()
    dataset.prepare()
    return (dataset[i]["input_ids"] for i in range(len(dataset)))


def check(request: Request, samples: Sequence[np.ndarray]) -> dict[str, bool]:
    dtype = np.dtype(request.dtype).type
    same = all(
        list(iter_document_indices(str(path), eos_token_id=request.eod, dtype=dtype))
        == list(iter_document_indices(str(path), use_array_if_local=False))
        for path in sorted(request.directory.glob("*.npy"))
    )
    return {"documents by .csv.gz are those by end-of-document ids": same}


main("ai2-olmo-core", read, check)
