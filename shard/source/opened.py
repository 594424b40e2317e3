"""A unit → its row groups and their text, whatever the file comes from."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

from shard.batch import TextBatch
from shard.errors import SourceReadError
from shard.job import Dataset, Unit
from shard.options import Options
from shard.source import files
from shard.source.download import Scratch
from shard.source.hub import HubFile
from shard.source.intake import Intake
from shard.source.parquet import RowGroups, open_parquet, read_texts, require_text_column, row_groups_of
from shard.source.spanfile import SpanFile
from shard.source.spanqueue import Fetch
from shard.source.spans import coalesce

_TAIL_BYTES = 64 << 10
"""What pyarrow reads first of any file."""


@dataclass(frozen=True, slots=True)
class OpenUnit:
    """A unit whose footer has been read."""

    groups: RowGroups
    texts: Iterator[TextBatch]
    abandon: Callable[[], None]
    """Ends a wait for bytes within `texts`, from another thread: it raises SourceReadError."""
    streamed: bool
    """Whether its bytes come over a network as they are read. Else nothing is gained by opening the next one early."""


@contextmanager
def open_unit(
    dataset: Dataset,
    unit: Unit,
    options: Options,
    scratch: Scratch,
    locations: dict[str, str],
    intake: Intake | None = None,
    then: Unit | None = None,
) -> Iterator[OpenUnit]:
    """Open a unit's source file; closed on leaving. Raises SourceError.

    `locations` is where the Hub's files lie, as far as known, by path: each saves a resolve. What is learnt is added,
    for the other parts of the file. `intake` is what is kept between units, if there will be more; `then` is the unit
    that will probably be the next, which is opened as soon as all of this one has been asked for.
    """
    with ExitStack() as stack:
        line = stack.enter_context(closing(Intake(options))) if intake is None else intake
        way = _Way(dataset, options, scratch, locations, line)
        ahead = line.claim(unit)
        if ahead is None:
            opened = way.open(unit, stack)
        else:
            opened = ahead[0]
            stack.enter_context(ahead[1])
        if then is not None and opened.streamed:
            line.follow_with(then, way.open)
        try:
            yield opened
        except BaseException:
            line.tail = None  # it may be what is damaged: another attempt reads it anew
            raise


@dataclass(frozen=True, slots=True)
class _Way:
    """How a rank comes to the bytes of its units."""

    dataset: Dataset
    options: Options
    scratch: Scratch
    locations: dict[str, str]
    line: Intake

    def open(self, unit: Unit, stack: ExitStack) -> OpenUnit:
        """Read the footer, and have the spans fetched."""
        try:
            return self._open(unit, stack)
        except BaseException:
            self.line.tail = None  # it may be what is damaged
            raise

    def _open(self, unit: Unit, stack: ExitStack) -> OpenUnit:
        column, where = self.dataset.text_column, f"{self.dataset.name}/{unit.path}"
        source = self._file(unit, stack)
        file = open_parquet(source, where=where)
        stack.callback(file.close)
        require_text_column(file, column, where=where)
        groups = row_groups_of(unit, file, column, where=where)
        texts = read_texts(file, groups, column, where=where)
        if not isinstance(source, SpanFile):
            return OpenUnit(groups, texts, _no_wait, streamed=False)
        source.prefetch(coalesce(groups.spans))
        return OpenUnit(groups, texts, source.abandon, streamed=True)

    def _file(self, unit: Unit, stack: ExitStack) -> Any:
        """What pyarrow reads from."""
        if self.dataset.kind == "hub" and self.options.fetch == "download":
            return self.scratch.fetch(self.dataset, unit, self.options)
        if self.dataset.kind == "hub":
            known = self.locations.get(unit.path)
            hub_file = HubFile(self.dataset, unit, self.options, known, self.line.client, self.line.pace)
            stack.callback(_close_and_remember, hub_file, unit, self.locations)
            file = self._span_file(hub_file.fetch, unit, stack)
            _remember(hub_file, unit, self.locations)
            return file
        fs, root = files.filesystem(self.dataset.root)
        path = f"{root.rstrip('/')}/{unit.path}"
        files.check_unchanged(fs, path, self.dataset, unit)
        if (local := files.local_path(fs, path)) is not None:
            return local

        def fetch(start: int, end: int) -> bytes:
            self.line.pace(end - start)
            try:
                data: bytes = fs.cat_file(path, start=start, end=end)
            except OSError as error:
                raise SourceReadError(f"{self.dataset.name}: {unit.path}: {error}") from error
            return data

        return self._span_file(fetch, unit, stack)

    def _span_file(self, fetch: Fetch, unit: Unit, stack: ExitStack) -> SpanFile:
        """The file with its footer, which is not fetched again for the next part of it."""
        file = SpanFile(fetch, unit.size, self.line.queue)
        stack.callback(file.close)
        known = self.line.tail
        if known is not None and known[0] == unit.path:
            file.keep_tail(len(known[1]), known[1])
            return file
        tail = file.keep_tail(_TAIL_BYTES)
        footer = int.from_bytes(tail[-8:-4], "little") + 8
        if tail[-4:] == b"PAR1" and len(tail) < footer <= unit.size:
            tail = file.keep_tail(footer)
        self.line.tail = (unit.path, tail)
        return file


def _close_and_remember(file: HubFile, unit: Unit, locations: dict[str, str]) -> None:
    file.close()
    _remember(file, unit, locations)


def _remember(file: HubFile, unit: Unit, locations: dict[str, str]) -> None:
    if file.location is not None:
        locations[unit.path] = file.location


def _no_wait() -> None:
    """A local file has no wait that could be ended."""
