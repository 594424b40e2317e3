"""shard/formats/megatron.py"""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shard.errors import VerificationError
from shard.formats.megatron import index_bytes, index_size, read_index

LENGTHS = st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=10), max_size=5)


def arrays(lengths: list[list[int]]) -> list[np.ndarray[tuple[int], np.dtype[np.int32]]]:
    return [np.array(batch, dtype=np.int32) for batch in lengths]


def parse(data: bytes) -> tuple[int, list[int], list[int], list[int]]:
    """An independent reader, from the format's description: dtype code, lengths, offsets, document index."""
    assert data[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, documents = struct.unpack_from("<QBQQ", data, 9)
    assert version == 1
    lengths = list(struct.unpack_from(f"<{sequences}i", data, 34))
    offsets = list(struct.unpack_from(f"<{sequences}q", data, 34 + 4 * sequences))
    index = list(struct.unpack_from(f"<{documents}q", data, 34 + 12 * sequences))
    assert len(data) == 34 + 12 * sequences + 8 * documents
    return code, lengths, offsets, index


@given(LENGTHS, st.sampled_from([("uint16", 2, 8), ("uint32", 4, 4)]))
def test_index_bytes(lengths: list[list[int]], kind: tuple[str, int, int]) -> None:
    """The bytes are Megatron's: code, lengths, running byte offsets beyond 4 GiB, one sequence per document."""
    dtype, itemsize, code = kind
    flat = [length for batch in lengths for length in batch]
    offsets = [itemsize * sum(flat[:i]) for i in range(len(flat))]
    data = index_bytes(arrays(lengths), dtype)
    assert (code, flat, offsets, list(range(len(flat) + 1))) == parse(data)
    assert index_size(len(flat)) == len(data)


def test_read_index(tmp_path: Path) -> None:
    """What was written is read back."""
    path = tmp_path / "000000.idx"
    path.write_bytes(index_bytes(arrays([[3, 1], [4]]), "uint16"))
    index = read_index(path)
    assert (index.dtype, index.lengths.tolist(), index.byte_offsets.tolist()) == ("uint16", [3, 1, 4], [0, 6, 8])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"X" + data[1:],
        lambda data: data[:9] + b"\2" + data[10:],
        lambda data: data[:17] + b"\1" + data[18:],
        lambda data: data[:18] + b"\xff" * 8 + data[26:],
        lambda data: data[:-8] + b"\7" + data[-7:],
    ],
)
def test_a_damaged_index_is_named(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    """Truncated, too long, of another version, type or shape: the error names the file."""
    path = tmp_path / "000000.idx"
    path.write_bytes(damage(index_bytes(arrays([[3, 1, 4]]), "uint16")))
    with pytest.raises(VerificationError, match=r"000000\.idx"):
        read_index(path)


def test_megatron_core_reads_it(tmp_path: Path) -> None:
    """Where megatron-core is installed, its own reader gives back the documents."""
    indexed = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    tokens = np.arange(8, dtype="<u2")
    (tmp_path / "000000.bin").write_bytes(tokens.tobytes())
    (tmp_path / "000000.idx").write_bytes(index_bytes(arrays([[3, 1, 4]]), "uint16"))
    dataset = indexed.IndexedDataset(str(tmp_path / "000000"))
    assert [dataset[i].tolist() for i in range(len(dataset))] == [[0, 1, 2], [3], [4, 5, 6, 7]]
