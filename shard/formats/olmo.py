"""What stands beside a `.npy` file (raw tokens despite the name) for OLMo-core and Dolma: `.csv.gz`.

A row for each document: start, end (exclusive), id, source, line, without a header row.
Source: dolma.tokenizer, https://github.com/allenai/dolma; olmo_core.data.
"""

import csv
import gzip
import io

import numpy as np
from numpy.typing import NDArray


def table_bytes(stem: str, lengths: NDArray[np.int32], source: str) -> bytes:
    """The table for documents of these lengths in tokens; ids are `<stem>-<number>`."""
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    data = io.BytesIO()
    with (
        # No name and no time: the same documents give the same bytes.
        gzip.GzipFile(filename="", mode="wb", fileobj=data, mtime=0, compresslevel=6) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        rows = zip([0, *ends], ends, strict=False)
        csv.writer(text).writerows(
            (start, end, f"{stem}-{number}", source, number + 1) for number, (start, end) in enumerate(rows)
        )
    return data.getvalue()
