"""A look into one file, with the very code that will read all of them: does it hold text as it is said to?"""

from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from shard.errors import SourceError, SourceKindError
from shard.records.inputs import kind_of
from shard.records.job import Dataset
from shard.records.unit import Unit
from shard.source.jsonl import JsonLines, parsed_line
from shard.source.lines import Block, blocks, without_mark
from shard.source.parquet import open_parquet, require_text_column
from shard.source.readers import READERS, Opening
from shard.source.spanfile import SpanFile
from shard.source.tar import members

_LOOK_BYTES = 256 << 10
_MEMBERS = 16


def holds_text(source: Path | SpanFile, unit: Unit, dataset: Dataset, *, where: str) -> bool:
    """Whether the beginning of a file can be read; False when it is damaged: that is the worker's to report.

    Raises SourceKindError when it has no text where it is said to be, or is of another kind: others will be, too.
    """
    kind = kind_of(unit.path, dataset.input)
    if kind is None:
        return False
    with ExitStack() as stack:
        opening = Opening(source, unit, dataset, kind, where, stack, block_bytes=_LOOK_BYTES)
        try:
            if kind.format == "tar":
                _look_at_members(opening)
            elif kind.format == "text":
                without_mark(opening.stream().read(_LOOK_BYTES), where=where)
            elif kind.format == "jsonl":
                for block in islice(blocks(opening.stream(), where=where, block_bytes=_LOOK_BYTES), 1):
                    _look_at_lines(block, opening)
            elif kind.format == "parquet":
                _look_at_schema(opening)
            else:
                READERS[kind.format](opening)
        except SourceKindError:
            raise
        except SourceError:
            return False
    return True


def _look_at_schema(opening: Opening) -> None:
    """Of row groups nothing is asked: where a footer is damaged, that may end the process. A rank is started again."""
    file = open_parquet(opening.source, where=opening.where)
    opening.stack.callback(file.close)
    require_text_column(file, opening.dataset.text_column, where=opening.where)


def _look_at_members(opening: Opening) -> None:
    any_name = opening.dataset.input.format == "tar"
    found = list(islice(members(opening.stream(), any_name=any_name, where=opening.where), _MEMBERS))
    if found and not any(found):
        raise SourceKindError(
            f"{opening.where}: none of its first members is named *.txt; --input-format tar takes those of any name"
        )


def _look_at_lines(block: Block, opening: Opening) -> None:
    where, column = opening.where, opening.dataset.text_column
    first = next((line for line in block.data.split(b"\n") if line.strip()), b"{}")
    try:
        row = parsed_line(first)
    except RecursionError:
        row = {}  # deeper than Python goes, and perhaps not than Arrow does
    except ValueError:
        row = []
    if not isinstance(row, dict | None):
        raise SourceKindError(
            f"{where}: not JSON lines, which are one object a line: `jq -c` makes them ('.[]' of an array)"
        )
    (batch,) = JsonLines(column, where=where).texts([block])
    names = row or {}
    if batch.rows and batch.dropped["null"] == batch.rows and column not in names:
        raise SourceKindError(
            f"{where}: no {column!r} in its first lines; its names are {', '.join(names)}. Name one with --text-column"
        )
    if batch.rows and batch.dropped.get("not_text") == batch.rows:
        kind = type(names.get(column)).__name__
        raise SourceKindError(
            f"{where}: {column!r} holds a {kind}, not a string or a list of strings. Name another with --text-column"
        )
