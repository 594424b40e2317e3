"""How files are read (pure): shared by the launcher, which cuts them into units, and the workers that read them."""

from dataclasses import dataclass
from typing import Literal

from shard.records.frozen import Record

Format = Literal["parquet", "jsonl", "text", "tar", "arrow"]
Compression = Literal["gzip", "zstd"]

SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".txt": "text",
    ".tar": "tar",
    ".arrow": "arrow",
    ".feather": "arrow",
}
_COMPRESSED: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
_NOT_COMPRESSED = ("parquet", "arrow")
"""They compress their own pages."""
_METADATA = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})
"""What `datasets` writes beside the data."""


class Input(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How source files become documents, as far as it is not said by their suffix."""

    format: Format | None = None
    """Of every file, whatever its suffix; None goes by the suffix."""
    document_per_line: bool = False
    """Of text: every line is a document. Else every file is."""
    drop_empty_lines: bool = False
    """Of text: lines of nothing but white space are left out."""


BY_SUFFIX = Input()
"""What needs not be said."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one file is read."""

    format: Format
    compression: Compression | None = None


class LineRange(Record, frozen=True, kw_only=True, array_like=True):
    """Which bytes of a file that is cut by lines a unit took."""

    start: int
    """Where its first line begins (inclusive)."""
    end: int
    """Where its last line ends (exclusive). Equal to `start` when no line begins in the unit's part of the file."""
    file_bytes: int

    @property
    def empty(self) -> bool:
        return self.start == self.end


def kind_of(path: str, form: Input) -> Kind | None:
    """How a file is read, by its name; None when the name does not say."""
    name = path.rpartition("/")[2]
    if name.endswith(".tgz"):
        name = name.removesuffix(".tgz") + ".tar.gz"
    stem, dot, last = name.rpartition(".")
    compression = _COMPRESSED.get(dot + last)
    if compression is not None:
        name = stem
    format_ = form.format
    if format_ is None and name not in _METADATA:
        _, dot, last = name.rpartition(".")
        format_ = SUFFIXES.get(dot + last)
    if format_ is None or (compression is not None and format_ in _NOT_COMPRESSED):
        return None
    return Kind(format_, compression)


def is_cut(kind: Kind, form: Input) -> bool:
    """Whether a large file may be several units: where a reader can begin in the middle of it."""
    by_lines = kind.format == "jsonl" or (kind.format == "text" and form.document_per_line)
    return kind.format == "parquet" or (by_lines and kind.compression is None)


def is_grouped(kind: Kind, form: Input) -> bool:
    """Whether small files share a unit: where each is one document."""
    return kind.format == "text" and kind.compression is None and not form.document_per_line
