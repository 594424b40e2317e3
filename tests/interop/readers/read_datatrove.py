"""datatrove's folder dataset: windows of every file; and positions, which it takes from `.ds.index`."""

from collections.abc import Iterator, Sequence

import numpy as np
from datatrove.utils.dataset import DatatroveFolderDataset
from harness import Request, main


def dataset_of(request: Request, **positions: object) -> DatatroveFolderDataset:
    # One token more than a sample has is in each window: the label of the last.
    return DatatroveFolderDataset(
        str(request.directory),
        seq_len=request.length - 1,
        filename_pattern="*.ds",
        token_size=request.itemsize,
        **positions,
    )


def read(request: Request) -> Iterator[object]:
    dataset = dataset_of(request)
    return (dataset[i]["input_ids"] for i in range(len(dataset)))


def check(request: Request, samples: Sequence[np.ndarray]) -> dict[str, bool]:
    by_index = dataset_of(request, return_positions=True)
    by_eod = dataset_of(request, return_positions=True, positions_from_eos_token_id=request.eod)
    same = all(
        np.array_equal(np.asarray(by_index[i]["positions"]), np.asarray(by_eod[i]["positions"]))
        for i in range(len(samples))
    )
    metadata = [(path, path.with_name(f"{path.name}.metadata")) for path in request.directory.glob("*.ds")]
    counted = all(
        int(facts.read_text().splitlines()[1]) * request.itemsize == path.stat().st_size for path, facts in metadata
    )
    return {"positions by .ds.index are those by end-of-document ids": same, "counts of .ds.metadata": counted}


main("datatrove", read, check)
