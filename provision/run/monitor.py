"""Events → what is known of the cluster (no I/O, no clock)."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping

from provision.plan.ledger import Entry
from provision.plan.plan import Plan
from provision.reach.pdsh import LogLine, hung_up
from provision.run.hoststate import HostState, Totals
from shard.records.progress import (
    AnyEvent,
    HostDone,
    HostIdle,
    HostLost,
    HostRestarted,
    HostStarted,
    HostStopping,
    Note,
    Progress,
    RankExited,
    UnitCounts,
    UnitDone,
    UnitFailed,
    UnitsKept,
    UnitsMoved,
    ordinals_of,
)

_RATE_WINDOW_SECONDS = 30.0
_TEXT_PER_SOURCE_BYTE = 1.6
"""Until the first unit is done: what FineWeb's snappy Parquet gives."""


class ClusterState:
    """Folds the events of one run, in the order in which they came."""

    def __init__(self, plan: Plan, ledger: Mapping[int, Entry] | None = None) -> None:
        """`ledger` tells what hosts have that take no part and cannot be asked."""
        self.plan = plan
        self.hosts = {host.name: HostState(host.name, host.ranks, todo=set(host.units)) for host in plan.hosts}
        self.owner = {ordinal: host.name for host in plan.hosts for ordinal in host.units}
        """Unit → the host that is to do it, or has."""
        self.unowned: set[int] = set()
        """Units that their owner has given up, and no other host has taken yet."""
        self.committed: dict[int, str] = {}
        """Unit → host."""
        self.quarantined: dict[int, tuple[str, str]] = {}
        """Unit → (host, reason)."""
        self.totals = Totals()
        self.messages: deque[str] = deque(maxlen=200)
        """What a user should read, latest last."""
        self.sizes = {unit.ordinal: unit.bytes for unit in plan.units}
        """Source bytes of every unit."""
        self._source_bytes = sum(self.sizes.values())
        self._units = {unit.ordinal: unit for unit in plan.units}
        self._source_done = 0
        self._source_seen = self._text_seen = 0
        for host in plan.hosts:
            if host.absent:
                self.hosts[host.name].phase = "absent"
                for ordinal in host.units:
                    if ledger is not None and ordinal in ledger:
                        self._commit(ledger[ordinal].counts, self.hosts[host.name])

    @property
    def text_per_byte(self) -> float:
        """Bytes of text that a byte of source gives."""
        # Also while only files without any text were seen: rates are divided by it.
        return self._text_seen / self._source_seen if self._text_seen else _TEXT_PER_SOURCE_BYTE

    @property
    def waiting(self) -> bool:
        """Whether hosts wait for the launcher to hang up, or are beyond its reach."""
        return any(host.phase in {"idle", "lost"} for host in self.hosts.values())

    @property
    def complete(self) -> bool:
        """Whether every unit has been reported committed."""
        return len(self.committed) == len(self.plan.units)

    def apply(self, event: AnyEvent | LogLine, now: float) -> None:
        """Take in one event; `now` is in seconds, of any clock that only goes forward."""
        if isinstance(event, LogLine):
            # A terminal would obey the control characters that a login banner, or a traceback's text, may hold.
            text = "".join(c if c.isprintable() else " " for c in event.text)
            self.messages.append(f"{event.host}: {text}" if event.host else text)
            if (gone := self._called(hung_up(text))) is not None:
                gone.hung_up = True
            return
        host = self.hosts.get(event.host)
        if host is None:
            return  # of another run: nothing of ours says so
        if not isinstance(event, HostLost | HostRestarted | UnitsMoved):
            host.last_heard, host.unreachable = now, False
        match event:
            case HostStarted():
                self._start(event, host, now)
            case UnitsKept():
                for counts in event.units:
                    self._commit(counts, host)
            case UnitDone():
                if event.unit in self._units:
                    self._commit(event.counts, host)
                    self._source_seen += self.sizes[event.unit]
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
                host.usual = host.rate()[0] or host.usual
            case HostIdle():
                host.idle_after = event.requests
                # One from before the last change of its share says nothing of what it has been given since.
                if host.idle_after >= host.requests:
                    host.phase = "idle"
            case HostStopping():
                host.phase, host.reason = "stopping", event.reason
                self.messages.append(f"{host.name}: stopping: {event.reason}")
            case HostDone():
                host.phase, host.reason = event.outcome, event.reason
                if event.reason:
                    self.messages.append(f"{host.name}: {event.outcome}: {event.reason}")
            case HostLost():
                host.phase, host.reason = "lost", event.reason
                self.messages.append(f"{host.name}: lost: {event.reason}")
            case HostRestarted():
                host.phase, host.hung_up = "waiting", False
                self.messages.append(f"{host.name}: started again: {event.reason}")
            case UnitsMoved():
                self._move(event, host)

    def begin(self, now: float) -> None:
        """Hosts are being started: from now on silence counts."""
        for host in self.hosts.values():
            host.last_heard = now

    def release(self, name: str, ordinals: Collection[int]) -> None:
        """A host has given up these units: they are free."""
        released = set(ordinals) & self.hosts[name].todo
        self.unowned |= released
        self.hosts[name].todo -= released
        self.hosts[name].requests += 1

    def seconds_left(self) -> float | None:
        """Estimated; None while there is no rate."""
        rate = sum(host.rate()[0] for host in self.hosts.values())
        if rate <= 0:
            return None
        failed = sum(self.sizes[ordinal] for ordinal in self.quarantined)
        text_left = (self._source_bytes - self._source_done - failed) * self.text_per_byte
        under_way = sum(host.progress.text_bytes for host in self.hosts.values() if host.progress) - self._text_seen
        return max(0.0, (text_left - max(0, under_way)) / rate)

    def lose(self, quiet: Collection[str]) -> None:
        """Take in which hosts run nothing any more: one that never said so was killed, or cut off."""
        for host in self.hosts.values():
            if host.name in quiet and host.phase == "idle":
                host.phase = "incomplete" if host.units_failed else "complete"
            elif host.name in quiet and host.phase in {"running", "stopping"}:
                host.phase, host.reason = "lost", "ended without a last word: killed, or cut off from here"

    def unfinished(self) -> Iterator[HostState]:
        """Hosts that have not said that they are done."""
        return (host for host in self.hosts.values() if host.phase not in {"complete", "idle"})

    def _called(self, label: str | None) -> HostState | None:
        """The host that pdsh calls so: it leaves out a domain that all hosts share."""
        if label is None or label in self.hosts:
            return self.hosts.get(label or "")
        found = [host for host in self.hosts.values() if host.name.partition(".")[0] == label]
        return found[0] if len(found) == 1 else None

    def _start(self, event: HostStarted, host: HostState, now: float) -> None:
        host.phase, host.progress, host.hung_up = "running", None, False
        host.started, host.place, host.requests, host.idle_after = now, event.place, 0, -1
        host.window.clear()
        # It tries again what an earlier start of it had put aside.
        again = {ordinal for ordinal, (name, _) in self.quarantined.items() if name == host.name}
        host.todo |= again
        host.units_failed -= len(again)
        for ordinal in again:
            del self.quarantined[ordinal]

    def _commit(self, counts: UnitCounts, host: HostState) -> None:
        ordinal = counts.unit
        if ordinal not in self._units:
            return
        if ordinal not in self.committed:
            self.totals.add(counts)
            self._source_done += self.sizes[ordinal]
            if ordinal in self.quarantined:
                self.hosts[self.quarantined.pop(ordinal)[0]].units_failed -= 1
        elif self.committed[ordinal] != host.name:
            return  # done here as well, after it was given to another
        self.committed[ordinal] = host.name
        self._own(ordinal, host)
        host.todo.discard(ordinal)
        host.done.add(ordinal)

    def _own(self, ordinal: int, host: HostState) -> None:
        """From now on a unit is this host's, and no other's, to do."""
        before = self.hosts[self.owner[ordinal]]
        if before is not host:
            before.todo.discard(ordinal)
            before.gone.add(ordinal)
        self.unowned.discard(ordinal)
        self.owner[ordinal] = host.name
        host.gone.discard(ordinal)
        host.todo.add(ordinal)

    def _move(self, event: UnitsMoved, host: HostState) -> None:
        moved = list(ordinals_of(event.units))
        for ordinal in moved:
            if ordinal not in self.committed:
                self._own(ordinal, host)
        host.requests += 1
        # It may have done them all, and said so, before it was known here that it had taken them.
        if host.phase == "idle" and host.idle_after < host.requests:
            host.phase = "running"
        self.messages.append(f"{host.name}: takes {len(moved)} units: {event.why}")

    def _failed(self, event: UnitFailed, host: HostState) -> None:
        host.errors += 1
        unit = self._units.get(event.unit)
        path = unit.path if unit is not None else "?"
        if event.quarantined and unit is not None and event.unit not in self.committed:
            host.units_failed += 1
            self._own(event.unit, host)
            host.todo.discard(event.unit)
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
            {"unit": ordinal, "host": host, "path": state.plan.unit(ordinal).path, "reason": reason}
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
