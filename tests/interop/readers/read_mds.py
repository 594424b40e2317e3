"""MosaicML Streaming's dataset, in order; and what its writer makes of the same samples."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from harness import Request, main

# The package imports its datasets of images whatever is read, and torchvision fits only the PyTorch it was built with.
sys.path.insert(0, str(Path(__file__).parent / "stubs"))

from streaming import MDSWriter, StreamingDataset
from streaming.base.util import clean_stale_shared_memory


def read(request: Request) -> Iterator[np.ndarray]:
    clean_stale_shared_memory()
    # Batches of one so that none is filled up with samples of others; what is made ready ahead is as for 32.
    dataset = StreamingDataset(local=str(request.directory), remote=None, batch_size=1, predownload=8 * 32)
    return (sample["tokens"] for sample in dataset)


def check(request: Request, samples: Sequence[np.ndarray]) -> dict[str, bool]:
    index = json.loads((request.directory / "index.json").read_text())
    encoding, size = (index["shards"][0][name] for name in ("column_encodings", "size_limit"))
    theirs = request.scratch / "theirs"
    with MDSWriter(out=str(theirs), columns={"tokens": encoding[0]}, size_limit=size) as writer:
        for sample in samples:
            writer.write({"tokens": sample})
    files = sorted(path.name for path in request.directory.iterdir())
    same = files == sorted(path.name for path in theirs.iterdir()) and all(
        (theirs / name).read_bytes() == (request.directory / name).read_bytes() for name in files
    )
    return {"MDSWriter writes the same bytes": same}


main("mosaicml-streaming", read, check)
