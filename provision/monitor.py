"""Events → what is known of the cluster (no I/O, no clock)."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from provision.pdsh import LogLine
from provision.plan import Plan
from shard.progress import (
    AnyEvent,
    HostDone,
    HostStarted,
    HostStopping,
    Note,
    Progress,
    RankExited,
    UnitDone,
    UnitFailed,
    UnitsKept,
    ordinals_of,
)

_RATE_WINDOW_SECONDS = 30.0
_TEXT_PER_SOURCE_BYTE = 1.6
"""Until the first unit is done: what FineWeb's snappy Parquet gives."""


@dataclass
class HostState:
    """One host, as far as it has spoken."""

    name: str
    ranks: int
    units: int
    phase: str = "waiting"
    units_done: int = 0
    units_failed: int = 0
    progress: Progress | None = None
    last_heard: float | None = None
    errors: int = 0
    reason: str = ""
    window: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=64))
    """(time, text bytes, tokens) of recent progress events."""

    @property
    def ended(self) -> bool:
        return self.phase in {"complete", "incomplete", "stopped", "failed", "lost"}

    def rate(self) -> tuple[float, float]:
        """(text bytes, tokens) per second over the last half minute."""
        if len(self.window) < 2 or self.ended:
            return 0.0, 0.0
        (t0, bytes0, tokens0), (t1, bytes1, tokens1) = self.window[0], self.window[-1]
        seconds = max(t1 - t0, 1e-3)
        return (bytes1 - bytes0) / seconds, (tokens1 - tokens0) / seconds


@dataclass
class Totals:
    """Sums over committed units, those of earlier runs included."""

    documents: int = 0
    """In train."""
    holdout_documents: int = 0
    tokens: int = 0
    """In train."""
    holdout_tokens: int = 0
    dropped: int = 0

    def add(self, event: UnitDone | UnitsKept) -> None:
        self.documents += event.documents
        self.holdout_documents += event.holdout_documents
        self.tokens += event.tokens
        self.holdout_tokens += event.holdout_tokens
        self.dropped += event.dropped


class ClusterState:
    """Folds the events of one run, in the order in which they came."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.hosts = {host.name: HostState(host.name, host.ranks, len(host.units)) for host in plan.hosts}
        self.committed: dict[int, str] = {}
        """Unit → host."""
        self.quarantined: dict[int, tuple[str, str]] = {}
        """Unit → (host, reason)."""
        self.totals = Totals()
        self.messages: deque[str] = deque(maxlen=200)
        """What a user should read, latest last."""
        self._units = {unit.ordinal: unit for unit in plan.units}
        self._source_done = 0
        self._source_seen = self._text_seen = 0

    @property
    def complete(self) -> bool:
        """Whether every unit has been reported committed, and every host has ended well."""
        return len(self.committed) == len(self.plan.units) and all(
            host.phase == "complete" for host in self.hosts.values()
        )

    def apply(self, event: AnyEvent | LogLine, now: float) -> None:
        """Take in one event; `now` is in seconds, of any clock that only goes forward."""
        if isinstance(event, LogLine):
            # A terminal would obey the control characters that a login banner, or a traceback's text, may hold.
            text = "".join(c if c.isprintable() else " " for c in event.text)
            self.messages.append(f"{event.host}: {text}" if event.host else text)
            return
        host = self.hosts.get(event.host)
        if host is None:
            return  # of another run: nothing of ours says so
        host.last_heard = now
        match event:
            case HostStarted():
                host.phase, host.units_failed, host.progress = "running", 0, None
                host.window.clear()
            case UnitsKept():
                self.totals.add(event)
                for ordinal in ordinals_of(event.units):
                    self._commit(ordinal, host)
            case UnitDone():
                self.totals.add(event)
                self._commit(event.unit, host)
                self._source_seen += self._units[event.unit].bytes
                self._text_seen += event.text_bytes
            case UnitFailed():
                self._failed(event, host)
            case RankExited():
                host.errors += 1
                after = "started again" if event.restarted else "not started again"
                self.messages.append(f"{host.name}: rank {event.rank} {event.how}; {after}")
            case Note():
                self.messages.append(f"{host.name}: {event.text}")
            case Progress():
                host.progress = event
                host.window.append((now, event.text_bytes, event.tokens))
                while now - host.window[0][0] > _RATE_WINDOW_SECONDS:
                    host.window.popleft()
            case HostStopping():
                host.phase, host.reason = "stopping", event.reason
                self.messages.append(f"{host.name}: stopping: {event.reason}")
            case HostDone():
                host.phase, host.reason = event.outcome, event.reason
                if event.reason:
                    self.messages.append(f"{host.name}: {event.outcome}: {event.reason}")

    def seconds_left(self) -> float | None:
        """Estimated; None while there is no rate."""
        rate = sum(host.rate()[0] for host in self.hosts.values())
        if rate <= 0:
            return None
        text_per_byte = self._text_seen / self._source_seen if self._source_seen else _TEXT_PER_SOURCE_BYTE
        failed = sum(self._units[ordinal].bytes for ordinal in self.quarantined)
        text_left = (self.plan.bytes - self._source_done - failed) * text_per_byte
        under_way = sum(host.progress.text_bytes for host in self.hosts.values() if host.progress) - self._text_seen
        return max(0.0, (text_left - max(0, under_way)) / rate)

    def lose(self, quiet: Collection[str]) -> None:
        """Take in which hosts run nothing any more: one that never said so was killed, or cut off."""
        for host in self.hosts.values():
            if host.name in quiet and host.phase in {"running", "stopping"}:
                host.phase, host.reason = "lost", "ended without a last word: killed, or cut off from here"

    def unfinished(self) -> Iterator[HostState]:
        """Hosts that have not said that they are done."""
        return (host for host in self.hosts.values() if host.phase != "complete")

    def _commit(self, ordinal: int, host: HostState) -> None:
        if ordinal in self.committed or ordinal not in self._units:
            return
        self.committed[ordinal] = host.name
        self.quarantined.pop(ordinal, None)
        self._source_done += self._units[ordinal].bytes
        host.units_done += 1

    def _failed(self, event: UnitFailed, host: HostState) -> None:
        host.errors += 1
        unit = self._units.get(event.unit)
        path = unit.path if unit is not None else "?"
        if event.quarantined:
            host.units_failed += 1
            self.quarantined[event.unit] = (host.name, event.reason)
        then = "given up" if event.quarantined else "to be tried again"
        self.messages.append(
            f"{host.name}: unit {event.unit} ({path}), attempt {event.attempt} failed, {then}: {event.reason}"
        )


def run_done(
    state: ClusterState, *, exit_code: int, left: Mapping[str, object], unproven: list[str]
) -> dict[str, object]:
    """The last object of `--json`: the totals of a run."""
    totals = state.totals
    return {
        "event": "run_done",
        "run_id": state.plan.run_id,
        "exit_code": exit_code,
        "fingerprint": state.plan.fingerprint,
        "units": len(state.plan.units),
        "units_committed": len(state.committed),
        "quarantined": [
            {"unit": ordinal, "host": host, "path": state.plan.units[ordinal].path, "reason": reason}
            for ordinal, (host, reason) in sorted(state.quarantined.items())
        ],
        "documents": totals.documents,
        "holdout_documents": totals.holdout_documents,
        "tokens": totals.tokens,
        "holdout_tokens": totals.holdout_tokens,
        "dropped": totals.dropped,
        "hosts": {
            host.name: {"phase": host.phase, "units_done": host.units_done, "units": host.units, "reason": host.reason}
            for host in state.hosts.values()
        },
        "left": dict(left),
        "unproven": unproven,
    }
