"""What stands beside a `.ds` file for datatrove and nanotron: `.ds.index` and `.ds.metadata`.

Index: uint64 ends of documents in tokens, nothing before or after. Metadata: three lines, tokenizer|bytes per token,
tokens, tokens for humans. Source: datatrove.utils.dataset and datatrove.pipeline.tokens,
https://github.com/huggingface/datatrove.
"""

import numpy as np
from numpy.typing import NDArray

_PREFIXES = ("", "K", "M", "G", "T")


def ends_bytes(lengths: NDArray[np.int32]) -> bytes:
    """`.ds.index` for documents of these lengths in tokens."""
    return np.cumsum(lengths, dtype="<u8").tobytes()


def metadata_bytes(tokenizer: str, itemsize: int, tokens: int) -> bytes:
    """`.ds.metadata`; the name of the tokenizer has no '|' and no line break."""
    return f"{tokenizer}|{itemsize}\n{tokens}\n{_for_humans(tokens)}T".encode()


def _for_humans(count: float) -> str:
    for prefix in _PREFIXES:
        if count < 1000 or prefix == _PREFIXES[-1]:
            break
        count /= 1000
    return f"{count:.3g} {prefix}"
