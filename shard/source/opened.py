"""A unit → its row groups and their text, whatever the file comes from."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from shard.batch import TextBatch
from shard.errors import SourceReadError
from shard.job import Dataset, Options, Unit
from shard.source import files
from shard.source.download import Scratch
from shard.source.hub import HubFile
from shard.source.parquet import RowGroups, open_parquet, read_texts, require_text_column, row_groups_of
from shard.source.spanfile import Fetch, SpanFile
from shard.source.spans import coalesce, cut

_FOOTER_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class OpenUnit:
    """A unit whose footer has been read."""

    groups: RowGroups
    texts: Iterator[TextBatch]
    abandon: Callable[[], None]
    """Ends a wait for bytes within `texts`, from another thread: it raises SourceReadError."""


@contextmanager
def open_unit(
    dataset: Dataset, unit: Unit, options: Options, scratch: Scratch, locations: dict[str, str]
) -> Iterator[OpenUnit]:
    """Open a unit's source file; closed on leaving. Raises SourceError.

    `locations` is where the Hub's files lie, as far as known, by path: each saves a resolve. What is learnt is added,
    for the other parts of the file.
    """
    where = f"{dataset.name}/{unit.path}"
    with ExitStack() as stack:
        source, prefetch = _open_file(dataset, unit, options, scratch, locations, stack)
        file = open_parquet(source, where=where)
        stack.callback(file.close)
        require_text_column(file, dataset.text_column, where=where)
        groups = row_groups_of(unit, file, dataset.text_column, where=where)
        prefetch(groups)
        texts = read_texts(file, groups, dataset.text_column, where=where)
        yield OpenUnit(groups, texts, source.abandon if isinstance(source, SpanFile) else _no_wait)


def _open_file(
    dataset: Dataset, unit: Unit, options: Options, scratch: Scratch, locations: dict[str, str], stack: ExitStack
) -> tuple[Any, Callable[[RowGroups], None]]:
    """What pyarrow reads from, and what to call once the wanted bytes are known."""
    if dataset.kind == "hub" and options.fetch == "download":
        return scratch.fetch(dataset, unit, options), _nothing
    if dataset.kind == "hub":
        hub_file = HubFile(dataset, unit, options, locations.get(unit.path))
        stack.callback(_close_and_remember, hub_file, unit, locations)
        return _span_file(hub_file.fetch, unit, options, stack)
    fs, root = files.filesystem(dataset.root)
    path = f"{root.rstrip('/')}/{unit.path}"
    files.check_unchanged(fs, path, dataset, unit)
    if (local := files.local_path(fs, path)) is not None:
        return local, _nothing

    def fetch(start: int, end: int) -> bytes:
        try:
            data: bytes = fs.cat_file(path, start=start, end=end)
        except OSError as error:
            raise SourceReadError(f"{dataset.name}: {unit.path}: {error}") from error
        return data

    return _span_file(fetch, unit, options, stack)


def _close_and_remember(file: HubFile, unit: Unit, locations: dict[str, str]) -> None:
    file.close()
    if file.location is not None:
        locations[unit.path] = file.location


def _span_file(
    fetch: Fetch, unit: Unit, options: Options, stack: ExitStack
) -> tuple[SpanFile, Callable[[RowGroups], None]]:
    file = SpanFile(fetch, unit.size, in_flight=options.spans_in_flight)
    stack.callback(file.close)
    file.keep_tail(_FOOTER_BYTES)
    return file, lambda groups: file.prefetch(cut(coalesce(groups.spans)))


def _nothing(groups: RowGroups) -> None:
    """A local file needs no fetching ahead: the kernel reads ahead."""


def _no_wait() -> None:
    """A local file has no wait that could be ended."""
