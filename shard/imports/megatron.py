"""Megatron's IndexedDataset: `<prefix>.bin` and `<prefix>.idx`, documents of one or more sequences.

Layout of the index: shard/formats/megatron.py, here with any integer type, and with the document index that says which
sequences a document is made of. Source: megatron.core.datasets.indexed_dataset.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shard.errors import JobError, SourceError
from shard.formats.layout import HEADER
from shard.imports.blocks import Documents, by_lengths
from shard.imports.options import ImportOptions
from shard.imports.sources import Source, listed

_MAGIC = b"MMIDIDX\x00\x00"
_TYPES = {1: "u1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}


def find(path: Path) -> list[Source]:
    """Every pair below a directory; or the pair of a prefix, or of either file."""
    prefix = path.with_suffix("") if path.suffix in (".bin", ".idx") else path
    alone = prefix.with_name(f"{prefix.name}.idx")
    if not path.is_dir() and not alone.exists():
        raise JobError(f"{path}: no directory, and no {alone.name} there")
    found = listed(path if path.is_dir() else alone, "*.idx")
    if path.is_dir():
        _require_pairs(path)
        _require_one_width([index for _, index, _ in found])
    return [Source(f"{name[:-4]}.bin", index.with_suffix(".bin"), split, index) for name, index, split in found]


def _require_pairs(directory: Path) -> None:
    """Raise JobError for an index without its payload, or the other way round: half a dataset would be missing."""
    files = {file for file in directory.rglob("*") if file.suffix in (".bin", ".idx")}
    alone = sorted(
        file for file in files if file.with_suffix({".bin": ".idx", ".idx": ".bin"}[file.suffix]) not in files
    )
    visible = [file for file in alone if "/." not in f"/{file.relative_to(directory).as_posix()}"]
    if visible:
        other = {".bin": ".idx", ".idx": ".bin"}[visible[0].suffix]
        raise JobError(f"{visible[0]}: has no {visible[0].stem}{other} beside it; {len(visible)} such files in all")


def _require_one_width(indexes: Sequence[Path]) -> None:
    """Raise JobError where pairs have ids of different types: those of one tokenizer and one script have not."""
    widths: dict[str, Path] = {}
    for index in indexes:
        with index.open("rb") as file:
            header = file.read(HEADER.size)
        if len(header) == HEADER.size:  # else, and where the type is none, `read` says what is wrong
            widths.setdefault(_TYPES.get(HEADER.unpack(header)[2], ""), index)
    known = [(np.dtype(name).name, index) for name, index in widths.items() if name]
    if len(known) > 1:
        (first, index), (second, other) = known[:2]
        raise JobError(
            f"{other}: its ids are {second}, those of {index} {first}: they may be of two tokenizers. If they are not, "
            "import each kind by itself, and join them with concat"
        )


def read(sources: Sequence[Source], options: ImportOptions) -> Iterator[tuple[int, Documents]]:
    for number, source in enumerate(sources):
        index = source.index or source.payload
        dtype, lengths = _read_index(index, source.payload.stat().st_size)
        for documents in by_lengths(source.payload, np.dtype(dtype), lengths, index):
            yield number, documents


def _read_index(path: Path, payload_bytes: int) -> tuple[str, NDArray[np.int64]]:
    """(type of the ids, tokens of every document [documents])."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(HEADER.size)
        if len(header) < HEADER.size or not header.startswith(_MAGIC):
            raise SourceError(f"{path}: does not begin as an index of Megatron's does ({_MAGIC!r})")
        _, version, code, sequences, boundaries = HEADER.unpack(header)
        if version != 1 or code not in _TYPES:
            raise SourceError(f"{path}: version {version} with ids of type {code}; 1 with integers is what is read")
        needed = HEADER.size + 12 * sequences + 8 * boundaries
        if size == needed + sequences and sequences:
            raise SourceError(f"{path}: has modes of sequences: multimodal data are no text")
        if size != needed:
            raise SourceError(f"{path}: {size} bytes; {sequences} sequences and {boundaries} boundaries take {needed}")
        # [sequences]
        lengths = np.fromfile(file, dtype="<i4", count=sequences)
        offsets = np.fromfile(file, dtype="<i8", count=sequences)
        # [documents + 1] sequence at which each document begins
        documents = np.fromfile(file, dtype="<i8", count=boundaries)
    itemsize = np.dtype(_TYPES[code]).itemsize
    # [sequences + 1]
    starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)))
    if (lengths < 0).any() or not np.array_equal(offsets, starts[:-1] * itemsize):
        raise SourceError(f"{path}: its sequences do not follow each other in {payload_bytes} bytes of payload")
    ordered = (
        len(documents) > 0 and documents[0] == 0 and documents[-1] == sequences and (np.diff(documents) >= 0).all()
    )
    if not ordered:
        raise SourceError(f"{path}: its document index does not go from 0 to {sequences} sequences")
    return _TYPES[code], np.diff(starts[documents])
