"""What a contender has written: documents, tokens, and the sum of all ids, read back from its own format.

The sum does not depend on the order of documents, so equal counts with other tokens are found too.

python -m benchmarks.counts FORMAT DIRECTORY
"""

import argparse
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

EOD_ID = 50256
_PIECE = 1 << 24


@dataclass(frozen=True)
class Count:
    """Of a corpus's tokens, end-of-document tokens left out."""

    documents: int = 0
    tokens: int = 0
    id_sum: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.documents + other.documents, self.tokens + other.tokens, self.id_sum + other.id_sum)

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def said(found: Count, true: Count) -> str:
    """How what was written differs from what was to be written."""
    if found == true:
        return "exact"
    differences = [
        f"{abs(difference):,} {what} {'lost' if difference < 0 else 'too many'}"
        for what, difference in (
            ("documents", found.documents - true.documents),
            ("tokens", found.tokens - true.tokens),
        )
        if difference
    ]
    return ", ".join(differences) or "other tokens"


def of_ids(pieces: Iterator[NDArray[np.uint16]]) -> Count:
    """Ids back to back, an end-of-document id after each document."""
    count = Count()
    for ids in pieces:
        ends = int(np.count_nonzero(ids == EOD_ID))
        count += Count(ends, len(ids) - ends, int(ids.sum(dtype=np.uint64)) - ends * EOD_ID)
    return count


def flat(suffix: str) -> Callable[[Path], Count]:
    """Files of nothing but ids: ours, Megatron's `.bin`, nanoGPT's, datatrove's `.ds`, dolma's `.npy`."""
    return lambda directory: of_ids(
        piece for path in sorted(directory.rglob(f"*{suffix}")) for piece in _pieces(path, 0, path.stat().st_size)
    )


def litdata(directory: Path) -> Count:
    """Chunks: how many items, the offset of each and of the end (all uint32), then the items' ids."""
    count = Count()
    for path in sorted(directory.rglob("*.bin")):
        items = int(np.fromfile(path, dtype="<u4", count=1)[0])
        offsets = np.fromfile(path, dtype="<u4", count=items + 1, offset=4)
        count += of_ids(_pieces(path, int(offsets[0]), int(offsets[-1])))
    return count


def catid(directory: Path) -> Count:
    """Format 14: an index of (offset, tokens) for each document, whose ids are one zstd frame of byte planes.

    No end-of-document ids. An output that was not finished has no index.
    """
    zstd = pa.Codec("zstd")
    count = Count()
    for path in sorted(directory.rglob("index_*.bin")):
        index = path.read_bytes()
        entries = list(struct.iter_unpack("<II", index[: len(index) - 14]))
        ends = [offset for offset, _ in entries[1:]] + list(struct.unpack_from("<I", index, len(index) - 14))
        width = index[-9]
        data = path.with_name(path.name.replace("index_", "data_")).read_bytes()
        for (start, tokens), end in zip(entries, ends, strict=True):
            planes = zstd.decompress(data[start:end], decompressed_size=tokens * width, asbytes=True)
            # [width, tokens] uint8: all lowest bytes first
            sums = np.frombuffer(planes, dtype=np.uint8).reshape(width, tokens).sum(axis=1, dtype=np.uint64)
            count += Count(1, tokens, sum(int(part) << (8 * plane) for plane, part in enumerate(sums)))
    return count


FORMATS: Mapping[str, Callable[[Path], Count]] = {
    "bin": flat(".bin"),
    "ds": flat(".ds"),
    "npy": flat(".npy"),
    "litdata": litdata,
    "catid": catid,
}


def _pieces(path: Path, start: int, end: int) -> Iterator[NDArray[np.uint16]]:
    """The uint16 ids between two offsets of a file, some millions at a time."""
    with path.open("rb") as file:
        file.seek(start)
        left = (end - start) // 2
        while left:
            ids = np.fromfile(file, dtype="<u2", count=min(left, _PIECE))
            if not len(ids):
                return
            yield ids
            left -= len(ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    files = [path for path in options.directory.rglob("*") if path.is_file()]
    count = FORMATS[options.format](options.directory)
    print(json.dumps(count.as_dict() | {"bytes": sum(path.stat().st_size for path in files)}))


if __name__ == "__main__":
    main()
