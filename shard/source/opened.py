"""A unit → its text, whatever it comes from and however it is written."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial

from msgspec import UNSET

from shard.batch import TextBatch
from shard.errors import SourceError
from shard.records.inputs import kind_of
from shard.records.job import Dataset
from shard.records.options import Options
from shard.records.unit import Unit
from shard.source.download import Scratch
from shard.source.group import open_group
from shard.source.intake import Intake
from shard.source.readers import READERS, Opening, Reading, Taken
from shard.source.spanfile import SpanFile
from shard.source.way import Way


@dataclass(frozen=True, slots=True)
class OpenUnit:
    """A unit that can be read."""

    texts: Iterator[TextBatch]
    taken: Callable[[], Taken]
    """Which rows these are; known when `texts` has come to its end."""
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
        opener = partial(_open, Way(dataset, options, scratch, locations, line))
        ahead = line.claim(unit)
        if ahead is None:
            opened = opener(unit, stack)
        else:
            opened = ahead[0]
            stack.enter_context(ahead[1])
        if then is not None and opened.streamed:
            line.follow_with(then, opener)
        try:
            yield opened
        except BaseException:
            line.tail = None  # it may be what is damaged: another attempt reads it anew
            raise


def _open(way: Way, unit: Unit, stack: ExitStack) -> OpenUnit:
    """Read what the file says of itself, and have its spans fetched."""
    try:
        reading, streamed = _reading(way, unit, stack)
    except BaseException:
        way.line.tail = None  # it may be what is damaged
        raise
    if streamed is None:
        return OpenUnit(reading.texts, reading.taken, _no_wait, streamed=False)
    streamed.prefetch(reading.spans)
    return OpenUnit(reading.texts, reading.taken, streamed.abandon, streamed=True)


def _reading(way: Way, unit: Unit, stack: ExitStack) -> tuple[Reading, SpanFile | None]:
    if unit.members is not UNSET:
        return open_group(way, unit, unit.members, stack)
    where = way.where(unit.path)
    kind = kind_of(unit.path, way.dataset.input)
    if kind is None:
        raise SourceError(f"{where}: its name does not say what it holds; plan again with --input-format")
    source = way.file(unit, stack, footer=kind.format == "parquet")
    reading = READERS[kind.format](Opening(source, unit, way.dataset, kind, where, stack))
    return reading, source if isinstance(source, SpanFile) else None


def _no_wait() -> None:
    """A local file has no wait that could be ended."""
