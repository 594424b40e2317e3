"""What a run must have written, worked out without a line of the code under test.

Documents are read with pyarrow, encoded one by one with tiktoken or tokenizers, and split by the rule as the design
states it; shards are read with numpy and struct from the layout in docs/formats.md.
"""

import json
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tiktoken
import tokenizers
import xxhash
from numpy.typing import NDArray

Encode = Callable[[str], list[int]]
Documents = list[list[int]]
"""Token ids of documents, in dataset order."""


def documents_of(root: Path, column: str = "text") -> list[str | None]:
    """Every row of a column, files in order of their paths."""
    return [
        text
        for path in sorted(root.rglob("*.parquet"), key=lambda path: path.relative_to(root).as_posix())
        for text in pq.read_table(path, columns=[column])[column].to_pylist()
    ]


def tiktoken_encode(name: str, directory: Path) -> Encode:
    """An encoding whose rank file lies in a tiktoken cache directory."""
    os.environ["TIKTOKEN_CACHE_DIR"] = str(directory)
    return tiktoken.get_encoding(name).encode_ordinary


def json_encode(path: Path) -> Encode:
    """A tokenizer.json, the text of special tokens staying text."""
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def bytes_encode(text: str) -> list[int]:
    return list(text.encode())


def is_held_out(text: str, rate: str, seed: int = 0) -> bool:
    """xxh3_64(utf8(d), seed) < rate · 2^64; the rate as the user wrote it, `0.001` or `0.1%`."""
    share = Fraction(rate.rstrip("%")) / (100 if rate.endswith("%") else 1)
    return xxhash.xxh3_64_intdigest(text.encode(), seed=seed) < share * 2**64


def expected(
    texts: Iterable[str | None], encode: Encode, *, eod: int | None, rate: str, seed: int = 0
) -> dict[str, Documents]:
    """Split → the documents it must hold."""
    found: dict[str, Documents] = {"train": [], "holdout": []}
    for text in texts:
        if text:
            split = "holdout" if is_held_out(text, rate, seed) else "train"
            found[split].append([*encode(text), *([] if eod is None else [eod])])
    return found


def written(directories: Sequence[Path]) -> Documents:
    """The documents of one split, whose shards lie in these directories, in the order of their names."""
    files = sorted((path for directory in directories for path in directory.glob("[0-9]*.bin")), key=lambda p: p.name)
    names = [path.name for path in files]
    assert len(set(names)) == len(names), f"a shard stands twice: {names}"
    return [document for path in files for document in _shard(path)]


def token_dtype(directory: Path) -> str:
    found: str = json.loads((directory / "dataset.json").read_bytes())["dtype"]
    return found


def rows_of(directories: Sequence[Path]) -> list[tuple[str, int]]:
    """(path, row) of every source row that the records of the train split say was taken, as often as they say it."""
    records = [json.loads(path.read_bytes()) for directory in directories for path in directory.glob("[0-9]*.json")]
    sources = [record["source"] for record in records]
    return sorted((s["path"], row) for s in sources for row in range(s["row_start"], s["row_end"]))


def _shard(payload: Path) -> Documents:
    # [tokens]
    tokens = np.fromfile(payload, dtype=np.dtype(token_dtype(payload.parent)).newbyteorder("<"))
    lengths, offsets = _index(payload.with_suffix(".idx"))
    assert int(lengths.sum()) == len(tokens)
    starts = offsets // tokens.itemsize
    assert starts.tolist() == [0, *np.cumsum(lengths)[:-1].tolist()] if len(lengths) else not len(tokens)
    return [tokens[start : start + length].tolist() for start, length in zip(starts, lengths, strict=True)]


def _index(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    data = path.read_bytes()
    magic, version, _, sequences, boundaries = struct.unpack_from("<9sQBQQ", data)
    assert (magic, version, boundaries) == (b"MMIDIDX\x00\x00", 1, sequences + 1)
    lengths = np.frombuffer(data, "<i4", sequences, 34)
    offsets = np.frombuffer(data, "<i8", sequences, 34 + 4 * sequences)
    assert np.frombuffer(data, "<i8", boundaries, 34 + 12 * sequences).tolist() == list(range(boundaries))
    assert len(data) == 34 + 12 * sequences + 8 * boundaries
    return lengths.astype(np.int64), offsets
