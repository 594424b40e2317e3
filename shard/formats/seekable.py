"""The seek table at the end of a file of zstd frames: a skippable frame that decompressors pass over (pure).

uint32 magic 0x184D2A5E, uint32 size of what follows; for each frame uint32 compressed and uint32 decompressed size;
then uint32 number of frames, uint8 descriptor (0: no checksums here), uint32 magic 0x8F92EAB1. All little-endian.
Source: Zstandard Seekable Format 0.1.0, contrib/seekable_format in https://github.com/facebook/zstd.
"""

import struct

import numpy as np
from numpy.typing import NDArray

_SKIPPABLE = 0x184D2A5E
_SEEKABLE = 0x8F92EAB1
_HEAD = struct.Struct("<II")
_FOOT = struct.Struct("<IBI")
FOOT_BYTES = _FOOT.size


def table_size(frames: int) -> int:
    """Bytes of a table of so many frames."""
    return _HEAD.size + 8 * frames + _FOOT.size


def seek_table(sizes: list[tuple[int, int]]) -> bytes:
    """The table for frames of these (compressed, decompressed) bytes."""
    entries = np.array(sizes, dtype="<u4").reshape(len(sizes), 2)
    head = _HEAD.pack(_SKIPPABLE, 8 * len(sizes) + _FOOT.size)
    return b"".join((head, entries.tobytes(), _FOOT.pack(len(sizes), 0, _SEEKABLE)))


def frames_in(foot: bytes) -> int | None:
    """How many frames the last FOOT_BYTES of a file tell of; None when they end no such table."""
    frames, descriptor, magic = _FOOT.unpack(foot)
    return frames if (descriptor, magic) == (0, _SEEKABLE) else None


def read_seek_table(data: bytes) -> NDArray[np.int64] | None:
    """[frames, 2] compressed and decompressed bytes; None when the data is no such table."""
    if len(data) < table_size(0):
        return None
    frames = frames_in(data[-FOOT_BYTES:])
    if frames is None or len(data) != table_size(frames):
        return None
    if _HEAD.unpack(data[: _HEAD.size]) != (_SKIPPABLE, len(data) - _HEAD.size):
        return None
    return np.frombuffer(data, dtype="<u4", count=2 * frames, offset=_HEAD.size).reshape(frames, 2).astype(np.int64)
