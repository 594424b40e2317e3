"""A rank table from a sample of a dataset, made where a run is planned; hosts are sent what comes of it.

The same dataset and tokenizer give the same table: the sample is the first documents of files that are spread evenly
over the dataset, read and encoded as ranks will read and encode them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shard.batch import TextBatch
from shard.errors import SourceChangedError, SourceError, SourceReadError
from shard.formats.ranks import table_bytes
from shard.records.job import Dataset, TokenizerSpec
from shard.records.options import Options
from shard.records.unit import Unit
from shard.source.download import Scratch
from shard.source.opened import open_unit
from shard.tokenizer.load import load_tokenizer

_FILES = 8
_TEXT_BYTES = 1 << 20
"""Of each file."""
_PART_BYTES = 4 << 20
"""Of a source file: row groups that begin in so many of its first bytes are asked for."""
_LONGEST_BYTES = 64 << 10
"""Longer documents are passed over: a slow tokenizer may need hours for one."""


def sample_ranks(
    dataset: Dataset,
    files: Sequence[tuple[str, int, str]],
    spec: TokenizerSpec,
    tokenizer_directory: Path,
    locations: dict[str, str],
) -> bytes:
    """The file with the rank table, from (path, size, content id) of all source files, in dataset order.

    What is learnt of where files lie is added to `locations`. A file that is no Parquet file is passed over: its units
    will fail, and say why. Raises SourceReadError and SourceChangedError for one that cannot be had, TokenizerError.
    """
    engine = load_tokenizer(spec, tokenizer_directory).engine
    counts = np.zeros(spec.vocab_size, dtype=np.int64)
    for path, size, content_id in _spread([file for file in files if file[1]]):
        # Its first row group, or few: a whole file may be large, and far away.
        parts = max(1, size // _PART_BYTES)
        unit = Unit(ordinal=0, path=path, size=size, content_id=content_id, part=0, parts=parts)
        try:
            for texts in _first_texts(dataset, unit, locations):
                tokens = engine.encode(texts).tokens
                counts += np.bincount(tokens, minlength=spec.vocab_size)
                for framing in (spec.bos_id, spec.eod_id):
                    if framing is not None:
                        counts[framing] += texts.documents
        except (SourceReadError, SourceChangedError):
            raise
        except SourceError:
            continue
    return table_bytes(counts)


def _spread(files: Sequence[tuple[str, int, str]]) -> list[tuple[str, int, str]]:
    """At most _FILES of them, evenly spaced."""
    count = min(_FILES, len(files))
    return [files[number * len(files) // count] for number in range(count)]


def _first_texts(dataset: Dataset, unit: Unit, locations: dict[str, str]) -> Iterator[TextBatch]:
    """The first documents of a unit, _TEXT_BYTES of them."""
    options = Options(retry_seconds=60.0, spans_in_flight=2)
    left = _TEXT_BYTES
    with open_unit(dataset, unit, options, Scratch(Path("nowhere")), locations) as opened:
        for texts in opened.texts:
            lengths = np.diff(texts.offsets)
            short = np.flatnonzero(lengths <= _LONGEST_BYTES)
            chosen = short[np.cumsum(lengths[short]) <= left]
            if len(chosen):
                yield _only(texts, chosen)
            left -= int(lengths[chosen].sum())
            if len(chosen) < len(short):
                break


def _only(texts: TextBatch, chosen: NDArray[np.int64]) -> TextBatch:
    """A batch of some of its documents, copied."""
    documents = [list(texts.pieces_of(int(index))) for index in chosen]
    pieces = [piece for document in documents for piece in document]
    # [pieces + 1], [documents + 1] int64
    starts = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
    offsets = starts[np.cumsum([0, *map(len, documents)])]
    sequences = None if texts.sequences is None else starts
    data = np.frombuffer(b"".join(pieces), dtype=np.uint8)
    return TextBatch(data, offsets, rows=len(documents), dropped={}, sequences=sequences)
