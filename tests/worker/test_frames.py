"""shard/formats/{frames,ranks,seekable}.py, framereader.py, payloadfile.py: the coding of compressed shards."""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shard.errors import JobError, VerificationError
from shard.formats.frames import Codec
from shard.formats.ranks import EXCEPTION, read_table, table_bytes
from shard.formats.seekable import read_seek_table, seek_table, table_size
from shard.records.compression import Compression
from shard.storage.framereader import FrameReader
from shard.storage.payloadfile import FramedFile

FRAME = 1024
VOCABULARIES = (1, 257, 50_257, 65_535, 65_536, 200_019)


def codec_of(vocab_size: int, counts: dict[int, int] | None = None, *, level: int = 1, frame: int = FRAME) -> Codec:
    dtype = "uint16" if vocab_size <= 1 << 16 else "uint32"
    numbers = np.zeros(vocab_size, dtype=np.int64)
    for token, count in (counts or {}).items():
        numbers[token] = count
    table = read_table(table_bytes(numbers), vocab_size, dtype, where="ranks.u32")
    return Codec(Compression(level=level, frame_tokens=frame), table, dtype)


def some_tokens(vocab_size: int, count: int, seed: int = 1) -> NDArray[Any]:
    """Often small ids, sometimes any."""
    chance = np.random.default_rng(seed)
    often = np.minimum(chance.zipf(1.3, count) - 1, vocab_size - 1)
    anywhere = chance.integers(0, vocab_size, count)
    ids = np.where(chance.random(count) < 0.9, often, anywhere)
    return ids.astype("<u2" if vocab_size <= 1 << 16 else "<u4")


def write(path: Path, codec: Codec, tokens: NDArray[Any], *, step: int = 700, threads: int = 0) -> bytes:
    """Write tokens in pieces. Returns the file."""
    with ThreadPoolExecutor(max(1, threads)) as executor:
        file = FramedFile(path, codec, executor if threads else None, ahead=threads)
        for start in range(0, len(tokens), step):
            file.write(tokens[start : start + step])
        said = file.finish()
    data = path.read_bytes()
    assert said.bytes == len(data)
    return data


# Ranks


def test_table_orders_ids_by_count() -> None:
    """The most frequent id has rank 0; equal counts go by id; ids that never occurred follow, by id."""
    data = table_bytes(np.array([0, 5, 0, 9, 5], dtype=np.int64))
    assert np.frombuffer(data, dtype="<u4").tolist() == [3, 1, 4]
    table = read_table(data, 5, "uint16", where="x")
    assert table.id_of[:5].tolist() == [3, 1, 4, 0, 2]
    assert table.rank_of.tolist() == [3, 1, 4, 0, 2]


@pytest.mark.parametrize("vocab_size", VOCABULARIES)
def test_ranks_and_ids_belong_together(vocab_size: int) -> None:
    """Each id has a rank of its own, up to 65,535 of them; those that are left have none."""
    table = read_table(b"", vocab_size, "uint32", where="x")
    ranked = np.flatnonzero(table.rank_of != EXCEPTION)
    assert len(ranked) == min(vocab_size, EXCEPTION) == table.ranks
    assert np.array_equal(table.id_of[table.rank_of[ranked]], ranked)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0", "3 bytes are no table"),
        (b"\0\0\0\0" * 2, "stands twice"),
        (b"\x01\x01\0\0", "outside the vocabulary of 257"),
        (bytes(4 * 65_536), "262144 bytes are no table"),
    ],
)
def test_damaged_tables(data: bytes, words: str) -> None:
    """What is no table for this vocabulary is refused by name."""
    with pytest.raises(VerificationError, match=f"ranks.u32: .*{words}"):
        read_table(data, 257, "uint16", where="ranks.u32")


# Frames


@pytest.mark.parametrize("vocab_size", VOCABULARIES)
@pytest.mark.parametrize("count", [1, 2, 1023, 1024])
def test_tokens_come_back(vocab_size: int, count: int) -> None:
    """Decoding gives the tokens, also those that have no rank, in their own type."""
    codec = codec_of(vocab_size, {vocab_size - 1: 3})
    tokens = some_tokens(vocab_size, count)
    tokens[-1] = vocab_size - 1
    frame, size = codec.encode(tokens)
    assert zstandard.get_frame_parameters(frame).content_size == size
    assert zstandard.get_frame_parameters(frame).has_checksum
    found = codec.decode(frame, count)
    assert found.dtype == tokens.dtype
    assert found.tolist() == tokens.tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 200_018), min_size=1, max_size=400), st.integers(0, 200_018))
def test_any_tokens_come_back(ids: list[int], often: int) -> None:
    """Whatever the ids and the table, nothing is lost."""
    tokens = np.array(ids, dtype="<u4")
    codec = codec_of(200_019, {often: 1})
    assert codec.decode(codec.encode(tokens)[0], len(ids)).tolist() == ids


def test_content_is_as_documented() -> None:
    """Ranks as uint16, 0xFFFF for an exception, exceptions behind them as uint32."""
    codec = codec_of(200_019, {7: 9, 8: 5})
    frame, _ = codec.encode(np.array([8, 200_000, 7, 199_999], dtype="<u4"))
    content = zstandard.ZstdDecompressor().decompress(frame)
    assert np.frombuffer(content[:8], dtype="<u2").tolist() == [1, 0xFFFF, 0, 0xFFFF]
    assert np.frombuffer(content[8:], dtype="<u4").tolist() == [200_000, 199_999]


def packed(*parts: NDArray[Any]) -> bytes:
    return zstandard.ZstdCompressor().compress(b"".join(part.tobytes() for part in parts))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b"nothing of the kind", "cannot be decompressed"),
        (packed(np.zeros(3, dtype="<u2")), "a frame of 6 bytes for 4 tokens"),
        (packed(np.zeros(13, dtype="<u2")), "a frame of 26 bytes for 4 tokens"),
        (packed(np.zeros(6, dtype="<u2")), "4 bytes of exceptions for 0 of them"),
        (packed(np.array([0, 0, 0, 300], dtype="<u2")), "a rank has no id"),
        (packed(np.array([0, 0, 0, EXCEPTION], dtype="<u2")), "0 bytes of exceptions for 1"),
        (packed(np.array([0, 0, 0, EXCEPTION], dtype="<u2"), np.array([999], dtype="<u4")), "id 999, outside"),
        (packed(np.zeros(4, dtype="<u2")) + b"x", "cannot be decompressed"),
        # A header that promises 2^40 bytes: no memory is given to it.
        (b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little"), "a frame of 1099511627776 bytes"),
    ],
)
def test_frames_that_are_none(frame: bytes, words: str) -> None:
    """A frame that no codec made is an error, never other tokens."""
    with pytest.raises(VerificationError, match=words):
        codec_of(257).decode(frame, 4)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"level": 0}, "level 0 is not from 1 to 19"),
        ({"level": 23}, "level 23"),
        ({"frame_tokens": 100}, "frame_tokens 100"),
        ({"frame_tokens": 1 << 25}, "frame_tokens 33554432"),
        ({"ranks_sha256": "x"}, "rank table 'x'"),
    ],
)
def test_impossible_compression(wish: dict[str, Any], words: str) -> None:
    """A level or a frame out of bounds is refused."""
    with pytest.raises(JobError, match=words):
        Compression(**wish)


# Files


@pytest.mark.parametrize("count", [0, 1, FRAME - 1, FRAME, FRAME + 1, 10 * FRAME + 5])
def test_a_file_is_the_same_however_it_is_written(count: int, tmp_path: Path) -> None:
    """Neither the pieces in which tokens come nor the threads that encode them change a byte."""
    codec, tokens = codec_of(50_257), some_tokens(50_257, count)
    files = {
        write(tmp_path / "x", codec, tokens, step=step, threads=threads)
        for step, threads in ((1, 0), (700, 0), (5000, 1), (FRAME, 3))
    }
    assert len(files) == 1


@pytest.mark.parametrize("count", [0, 1, FRAME, 10 * FRAME + 5])
def test_any_range_can_be_read(count: int, tmp_path: Path) -> None:
    """Every range of tokens is what was written, within a frame, across frames, and empty."""
    codec, tokens = codec_of(200_019), some_tokens(200_019, count)
    write(tmp_path / "x", codec, tokens)
    chance = np.random.default_rng(5)
    with FrameReader(tmp_path / "x", codec, count, cached=2) as reader:
        for start, stop in [(0, count), (0, 0), (count, count), *np.sort(chance.integers(0, count + 1, (200, 2)))]:
            assert np.array_equal(reader.read_tokens(int(start), int(stop)), tokens[start:stop])
        found = [*reader.frames()]
        assert np.array_equal(np.concatenate([np.empty(0, tokens.dtype), *found]), tokens)
        for wrong in ((-1, 0), (0, count + 1), (count, 0)) if count else ((-1, 0), (0, 1)):
            with pytest.raises(ValueError, match="tokens"):
                reader.read_tokens(*wrong)


def test_what_is_read_is_not_to_be_written_to(tmp_path: Path) -> None:
    """A view into a frame that is kept for later cannot be changed by whoever got it."""
    codec = codec_of(257)
    write(tmp_path / "x", codec, some_tokens(257, 100))
    with FrameReader(tmp_path / "x", codec, 100) as reader, pytest.raises(ValueError, match="read-only"):
        reader.read_tokens(0, 10)[0] = 1


def test_zstd_itself_reads_it(tmp_path: Path) -> None:
    """The command line tool decompresses the file, seek table and all, to the ranks of all frames."""
    if shutil.which("zstd") is None:
        pytest.skip("needs zstd: apt install zstd")
    codec, tokens = codec_of(257), some_tokens(257, 5 * FRAME + 1)
    write(tmp_path / "x.zst", codec, tokens)
    done = subprocess.run(["zstd", "-dc", str(tmp_path / "x.zst")], capture_output=True, check=True)
    assert np.frombuffer(done.stdout, dtype="<u2").tolist() == tokens.tolist()  # equal counts: ranks are ids


def test_seek_table_is_as_documented() -> None:
    """A skippable frame: sizes of each frame, then their number and the magic of the seekable format."""
    data = seek_table([(10, 20), (30, 40)])
    assert np.frombuffer(data[:24], dtype="<u4").tolist() == [0x184D2A5E, 25, 10, 20, 30, 40]
    assert data[24:] == b"\x02\0\0\0\0\xb1\xea\x92\x8f"
    found = read_seek_table(data)
    assert found is not None
    assert found.tolist() == [[10, 20], [30, 40]]
    assert len(data) == table_size(2)


@pytest.mark.parametrize("harm", ["cut", "empty", "longer", "no table", "frames", "sizes", "middle", "gone"])
def test_damaged_files_are_named(harm: str, tmp_path: Path) -> None:
    """Whatever is wrong with a file, its reader says which file it is."""
    codec, tokens = codec_of(257), some_tokens(257, 5 * FRAME)
    path = tmp_path / "000001.zst"
    data = bytearray(write(path, codec, tokens))
    count = len(tokens)
    if harm == "cut":
        data = data[:-1]
    elif harm == "empty":
        data = bytearray()
    elif harm == "longer":
        data += b"\0"
    elif harm == "no table":
        data = data[: -table_size(5)]
    elif harm == "frames":
        count -= FRAME  # of a record that says less
    elif harm == "sizes":
        data[-table_size(5) + 8] ^= 1
    elif harm == "middle":
        data[len(data) // 2] ^= 1
    path.write_bytes(data)
    if harm == "gone":
        path.unlink()
    with pytest.raises(VerificationError, match=f"^{path}: "), FrameReader(path, codec, count) as reader:
        reader.read_tokens(0, count)


def test_frame_sizes_that_lie(tmp_path: Path) -> None:
    """A seek table whose sizes add up, but belong to other frames, leads to no tokens."""
    codec, tokens = codec_of(257), some_tokens(257, 3 * FRAME)
    path = tmp_path / "x"
    data = write(path, codec, tokens)
    table = read_seek_table(data[-table_size(3) :])
    assert table is not None
    table[0, 0] += 1
    table[1, 0] -= 1
    path.write_bytes(data[: -table_size(3)] + seek_table([(int(a), int(b)) for a, b in table]))
    with FrameReader(path, codec, 3 * FRAME) as reader, pytest.raises(VerificationError, match="frame 0"):
        reader.read_tokens(0, 1)
