"""What one host is to do: its units, as the plan gave them and the launcher has changed them since."""

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from shard.errors import JobError
from shard.host.commits import counts_of
from shard.host.requests import Answer, AnyRequest, Release
from shard.host.schedule import UnitQueue
from shard.records.frozen import canonical_json
from shard.records.job import Job
from shard.records.progress import AnyEvent, HostDone, HostIdle, UnitCounts, UnitsKept, shorten
from shard.records.unit import Unit
from shard.storage.disk import write_atomic
from shard.storage.present import lacking_sidecars
from shard.storage.store import Directories, committed, discard

_KEPT_PER_LINE = 25
"""Nine numbers each, of up to sixteen digits."""
_NAMED = 200
"""Quarantined units that an event names, at most."""


class Share:
    """The job, and how far it is."""

    def __init__(
        self, job: Job, job_directory: Path, directories: Directories, emit: Callable[[AnyEvent], None]
    ) -> None:
        self.job = job
        self.units = UnitQueue((), attempts=job.options.attempts, ranks=job.ranks)
        """Those that are still to do."""
        self.requests = 0
        """Changes that have been taken in."""
        self._file = job_directory / "job.json"
        self._directories = directories
        self._emit = emit
        self._answered: Answer = []

    def begin(self) -> None:
        """Remove what others have done meanwhile, and see what there is to do."""
        discard(self._directories, self.job.discard)
        self._add(self.job.units)

    @property
    def done(self) -> int:
        """Units that are committed."""
        return len(self.job.units) - len(self.units) - len(self.units.quarantined)

    def change(self, request: AnyRequest) -> Answer:
        """Take in a request; the same one again gives the same answer. Raises JobError when it is of another start."""
        if request.number == self.requests:
            return self._answered
        if request.number != self.requests + 1:
            raise JobError(f"request {request.number} after request {self.requests}: of another start")
        if isinstance(request, Release):
            gone = {unit.ordinal for unit in self.units.release(request.bytes)}
            self._keep(unit for unit in self.job.units if unit.ordinal not in gone)
            self._answered = sorted(gone)
        else:
            had = {unit.ordinal for unit in self.job.units}
            new = [unit for unit in request.units if unit.ordinal not in had]
            self._keep([*self.job.units, *new])
            self._add(new)
            self._answered = [unit.ordinal for unit in new]
        self.requests = request.number
        return self._answered

    def idle(self) -> HostIdle:
        """That nothing is left."""
        return HostIdle(
            host=self.job.host,
            units_done=self.done,
            units=len(self.job.units),
            quarantined=self.units.quarantined[:_NAMED],
            requests=self.requests,
        )

    def ended(self, outcome: str, reason: str = "") -> HostDone:
        """The last word."""
        return HostDone(
            host=self.job.host,
            outcome=outcome,  # type: ignore[arg-type]
            units_done=self.done,
            units=len(self.job.units),
            quarantined=self.units.quarantined[:_NAMED],
            reason=shorten(reason),
        )

    def _keep(self, units: Iterable[Unit]) -> None:
        """Also for whoever starts or verifies this host later."""
        self.job = msgspec.structs.replace(self.job, units=tuple(units))
        write_atomic(self._file, canonical_json(self.job), mode=0o600)

    def _add(self, units: Iterable[Unit]) -> None:
        """Sort units into those that are committed, which are told, and those to do, if only their sidecars."""
        kept: list[UnitCounts] = []
        todo: list[Unit] = []
        bare: list[Unit] = []
        for unit in units:
            records = committed(self.job, self._directories, unit)
            if records is None:
                todo.append(unit)
            elif any(
                lacking_sidecars(self._directories[split], unit.stem, record, self.job.options)
                for split, record in records.items()
            ):
                bare.append(unit)
            else:
                kept.append(counts_of(records["train"], records["holdout"]))
        for first in range(0, len(kept), _KEPT_PER_LINE):
            self._emit(UnitsKept(host=self.job.host, units=kept[first : first + _KEPT_PER_LINE]))
        self.units.add(bare, bound=True)
        self.units.add(todo)
