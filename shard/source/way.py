"""How a rank comes to the bytes of its units: from the Hub, through fsspec, or from its own disk."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from shard.errors import SourceReadError
from shard.job import Dataset, Unit
from shard.options import Options
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

    @property
    def is_streamed(self) -> bool:
        """Whether bytes come over a network as they are read; else whole files are on this machine."""
        if self.dataset.kind == "hub":
            return self.options.fetch == "stream"
        fs, root = files.filesystem(self.dataset.root)
        return files.local_path(fs, root) is None

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
        if self.dataset.kind == "hub" and self.options.fetch == "download":
            return self.scratch.fetch(self.dataset, unit, self.options)
        if self.dataset.kind == "hub":
            known = self.locations.get(unit.path)
            hub_file = HubFile(self.dataset, unit, self.options, known, self.line.client, self.line.pace)
            stack.callback(hub_file.close)
            if remember:
                stack.callback(self._remember, hub_file, unit)
                hub_file.locate()
                self._remember(hub_file, unit)
            return hub_file.fetch
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
