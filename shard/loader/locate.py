"""Which documents stand in a batch, and where they came from."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Located:
    """A piece of a document in a row of a batch."""

    row: int
    """Of the rank's batch."""
    slots: tuple[int, int]
    """[start, end) in the row."""
    directory: Path
    shard: str
    """Stem of the files: "000012"."""
    document: int
    """Within its shard, from 0."""
    number: int
    """Within its directory, as `shardfleet cat --document` takes it."""
    tokens: tuple[int, int]
    """[start, end) of the piece within the document."""
    source: str
    """The source file, relative to the dataset's root."""
    source_rows: tuple[int, int]
    """[start, end): the rows of the source file that the shard took; the document is one of them."""
