"""Which documents stand in a batch, and where they came from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shard.loader.dataset import TokenDataset


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


def located(dataset: TokenDataset, sample: int, row: int) -> Iterator[Located]:
    """The documents of a sample that is this row of a batch, in the order of their slots. Raises ShardChangedError."""
    for slot, start, count in dataset.runs(sample):
        token = start
        while token < start + count:
            piece = _located_at(dataset, token, start + count, row, slot + token - start)
            yield piece
            token += piece.slots[1] - piece.slots[0]


def _located_at(dataset: TokenDataset, token: int, stop: int, row: int, slot: int) -> Located:
    """The document that holds a token of the directory, as far as `stop`, from a slot of the row on."""
    reader = dataset.reader
    place = reader.place_of(token)
    shard = reader.shards[place.shard]
    with reader.lock:
        index = reader.with_index(place.shard)
        document = index.document_at(place.token)
        begin, end = index.start_of(document), index.start_of(document + 1)
    last = min(end, place.token + stop - token)
    source = shard.record.source
    return Located(
        row=row,
        slots=(slot, slot + last - place.token),
        directory=dataset.path,
        shard=shard.stem,
        document=document,
        number=int(reader.document_starts[place.shard]) + document,
        tokens=(place.token - begin, last - begin),
        source=source.path,
        source_rows=(source.row_start, source.row_end),
    )
