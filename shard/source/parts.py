"""The units of a dataset opened one after another on this machine, outside of a job, with the sources of one."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from shard.batch import TextBatch
from shard.records.dataset import Dataset
from shard.records.options import Options
from shard.records.unit import Unit
from shard.source.download import Scratch
from shard.source.intake import Intake
from shard.source.opened import open_unit

Open = Callable[[Unit], AbstractContextManager[Iterator[TextBatch]]]
"""Opens a unit. Raises SourceError."""


@contextmanager
def opening(dataset: Dataset, locations: dict[str, str]) -> Iterator[Open]:
    """What opens units of a dataset; `locations` is where files of the Hub lie, as far as known."""
    options = Options()
    with TemporaryDirectory(prefix="shardfleet-") as scratch, closing(Intake(options)) as intake:
        kept = (options, Scratch(Path(scratch)), locations, intake)

        @contextmanager
        def open_part(unit: Unit) -> Iterator[Iterator[TextBatch]]:
            with open_unit(dataset, unit, *kept) as opened:
                yield opened.texts

        yield open_part
