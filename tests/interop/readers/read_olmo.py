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
    same, trapped = True, True
    for path in map(str, sorted(request.directory.glob("*.npy"))):
        by_eod = list(iter_document_indices(path, eos_token_id=request.eod, dtype=dtype))
        same &= by_eod == list(iter_document_indices(path, use_array_if_local=False))
        with_bos = iter_document_indices(path, eos_token_id=request.eod, bos_token_id=request.eod, dtype=dtype)
        trapped &= len(list(with_bos)) <= 1
    return {
        "documents by .csv.gz are those by end-of-document ids": same,
        "with bos = eos no boundary is found, as docs/export.md warns": trapped,
    }


main("ai2-olmo-core", read, check)
