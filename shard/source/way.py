"""How a rank comes to the bytes of its units: from the Hub, through fsspec, or from its own disk."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from shard.errors import SourceReadError
from shard.records.job import Dataset
from shard.records.options import Options
from shard.records.unit import Unit
from shard.source import files
from shard.source.download import Scratch
from shard.source.hub import HubFile
from shard.source.intake import Intake
from shard.source.spanfile import SpanFile
from shard.source.spanqueue import Fetch

_TAIL_BYTES = 64 << 10
"""What pyarrow reads first of any Parquet file."""


@dataclass(frozen=True, slots=True)
class Way:
    """See above; the same for all units of a rank."""

    dataset: Dataset
    options: Options
    scratch: Scratch
    locations: dict[str, str]
    """Where the Hub's files lie, as far as known, by path; what is learnt is added."""
    line: Intake

    def is_streamed(self, unit: Unit) -> bool:
        """Whether its bytes come over a network as they are read; else whole files are on this machine."""
        dataset, _ = self.dataset.holding(unit.path)
        if dataset.kind == "hub":
            return self.options.fetch == "stream"
        fs, root = files.filesystem(dataset.root)
        return files.local_path(fs, root) is None

    def where(self, path: str) -> str:
        """How errors name a file."""
        dataset, path = self.dataset.holding(path)
        return f"{dataset.name}/{path}"

    def file(self, unit: Unit, stack: ExitStack, *, footer: bool) -> Path | SpanFile:
        """The file where it is on this machine, else what fetches spans of it.

        With `footer`, that of Parquet has been read. Raises SourceError.
        """
        place = self.place(unit, stack)
        if isinstance(place, Path):
            return place
        file = SpanFile(place, unit.size, self.line.queue)
        stack.callback(file.close)
        if footer:
            self._keep_footer(file, unit)
        return file

    def place(self, unit: Unit, stack: ExitStack, *, remember: bool = True) -> Path | Fetch:
        """The file where it is on this machine, else what fetches bytes of it; checked against the plan.

        `remember` keeps where the Hub has it, for its other parts. Raises SourceError.
        """
        known = self.locations.get(unit.path)
        dataset, path = self.dataset.holding(unit.path)
        alone = replace(unit, path=path)
        if dataset.kind == "hub" and self.options.fetch == "download":
            return self.scratch.fetch(dataset, alone, self.options)
        if dataset.kind == "hub":
            hub_file = HubFile(dataset, alone, self.options, known, self.line.client, self.line.pace)
            stack.callback(hub_file.close)
            if remember:
                stack.callback(self._remember, hub_file, unit)
                hub_file.locate()
                self._remember(hub_file, unit)
            return hub_file.fetch
        fs, root = files.filesystem(dataset.root)
        full = f"{root.rstrip('/')}/{path}"
        files.check_unchanged(fs, full, dataset, alone)
        if (local := files.local_path(fs, full)) is not None:
            return local

        def fetch(start: int, end: int) -> bytes:
            self.line.pace(end - start)
            try:
                data: bytes = fs.cat_file(full, start=start, end=end)
            except OSError as error:
                raise SourceReadError(f"{dataset.name}: {path}: {error}") from error
            return data

        return fetch

    def _keep_footer(self, file: SpanFile, unit: Unit) -> None:
        """Fetch the footer, unless the part of the file before this one had it."""
        known = self.line.tail
        if known is not None and known[0] == unit.path:
            file.keep_tail(len(known[1]), known[1])
            return
        tail = file.keep_tail(_TAIL_BYTES)
        footer = int.from_bytes(tail[-8:-4], "little") + 8
        if tail[-4:] == b"PAR1" and len(tail) < footer <= unit.size:
            tail = file.keep_tail(footer)
        self.line.tail = (unit.path, tail)

    def _remember(self, file: HubFile, unit: Unit) -> None:
        if file.location is not None:
            self.locations[unit.path] = file.location
