"""Outputs of contenders read back: counted exactly, and what is missing is said."""

import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.counts import EOD_ID, FORMATS, Count, said

_DOCUMENTS = [[1, 2, 3], [50255, 7], [9] * 300]
_TRUE = Count(3, 305, 1 + 2 + 3 + 50255 + 7 + 2700)


def _ended(documents: list[list[int]]) -> bytes:
    return np.array([i for document in documents for i in (*document, EOD_ID)], dtype="<u2").tobytes()


@pytest.mark.parametrize(("kind", "name"), [("bin", "text.bin"), ("ds", "0_tokens.ds"), ("npy", "part-0.npy")])
def test_flat_ids_over_several_files(tmp_path: Path, kind: str, name: str) -> None:
    """Files of ids are added up, wherever they lie."""
    for number, part in enumerate((_DOCUMENTS[:1], _DOCUMENTS[1:])):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / name).write_bytes(_ended(part))
    assert FORMATS[kind](tmp_path) == _TRUE


def test_litdata_chunks(tmp_path: Path) -> None:
    """The head of a chunk is not counted as tokens."""
    items = [_ended([document]) for document in _DOCUMENTS]
    head = 4 * (len(items) + 2)
    offsets = [head + sum(map(len, items[:number])) for number in range(len(items) + 1)]
    chunk = struct.pack(f"<I{len(offsets)}I", len(items), *offsets) + b"".join(items)
    (tmp_path / "chunk-0-0.bin").write_bytes(chunk)
    assert FORMATS["litdata"](tmp_path) == _TRUE


def test_catid_spans(tmp_path: Path) -> None:
    """Byte planes under zstd give back the ids; the format stores no end of document."""
    frames = []
    for document in _DOCUMENTS:
        # [tokens, 4] uint8 → planes
        planes = np.array(document, dtype="<u4").view(np.uint8).reshape(-1, 4).T.tobytes()
        frames.append(pa.Codec("zstd").compress(planes, asbytes=True))
    starts = [sum(map(len, frames[:number])) for number in range(len(frames) + 1)]
    spans = zip(starts[:-1], map(len, _DOCUMENTS), strict=True)
    index = b"".join(struct.pack("<II", *span) for span in spans) + struct.pack("<IBBQ", starts[-1], 14, 4, 0)
    (tmp_path / "index_0.bin").write_bytes(index)
    (tmp_path / "data_0.bin").write_bytes(b"".join(frames) + struct.pack("<BBQ", 14, 4, 0))
    assert FORMATS["catid"](tmp_path) == _TRUE


def test_an_unfinished_output_holds_nothing(tmp_path: Path) -> None:
    """Data without its index does not count."""
    (tmp_path / "data_0.bin").write_bytes(b"x" * 100)
    assert FORMATS["catid"](tmp_path) == Count()


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (_TRUE, "exact"),
        (Count(2, 303, _TRUE.id_sum - 50262), "1 documents lost, 2 tokens lost"),
        (Count(3, 306, _TRUE.id_sum), "1 tokens too many"),
        (Count(3, 305, _TRUE.id_sum + 1), "other tokens"),
    ],
)
def test_differences_are_named(found: Count, sentence: str) -> None:
    """Documents, tokens, and at equal counts other tokens, are told apart."""
    assert said(found, _TRUE) == sentence
