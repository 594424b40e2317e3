"""Which host does what next: hosts that are silent, units that nobody does, hosts that are behind (pure).

Units belong to whoever the launcher gave them to. What a host has not committed when it ends, is lost or says that it
has nothing left is free, whatever went wrong on the way.
"""

from bisect import insort
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from provision.run.hoststate import HostState
from provision.run.monitor import ClusterState

START_SECONDS = 30.0
"""What a host may take longer for its first word: an earlier start that has to end."""
WORTH_SECONDS = 3.0
"""Work that a host will have begun within so long is left to it: to move it takes about as much."""
AHEAD_SECONDS = 4.0
"""How long before a host has nothing left it is given more."""
_NAMED = 3
"""Hosts that a message names; the others it counts."""
MOST_RESTARTS = 3
"""How often a host is started again without finishing a unit in between."""


@dataclass(frozen=True, slots=True)
class Probe:
    """See whether a host that is silent can be reached."""

    host: str


@dataclass(frozen=True, slots=True)
class Revive:
    """Stop what is left on a host that hung up, and start it again."""

    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class Lose:
    """Take a host for lost."""

    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class Give:
    """Have a host do these units."""

    host: str
    units: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Shift:
    """Have a host give up units that nobody has begun, so many bytes of them, for others that are done."""

    host: str
    bytes: int


Step = Probe | Revive | Lose | Give | Shift


def next_steps(
    state: ClusterState,
    now: float,
    *,
    busy: Collection[str] = (),
    resting: Collection[str] = (),
    asked: Collection[str] = (),
    promised: Collection[int] = (),
    restarts: Mapping[str, int] = MappingProxyType({}),
) -> list[Step]:
    """What is to be done now, at most one thing for each host.

    Args:
        state: what is known.
        now: of the clock that the state was folded with.
        busy: hosts for which something is under way.
        resting: hosts that have just failed something, and are left alone for a moment.
        asked: hosts that have not answered a request about their share yet.
        promised: units that are on their way to a host.
        restarts: how often a host was started again since it last finished a unit.
    """
    engaged = set(busy)
    steps: list[Step] = []
    for host in state.hosts.values():
        step = _first_aid(state, host, now, restarts.get(host.name, 0))
        # Whatever is under way for a host that is out of reach may take as long again.
        if isinstance(step, Lose) or (step is not None and host.name not in busy and host.name not in resting):
            steps.append(step)
            engaged.add(host.name)
    engaged.update(resting)
    engaged.update(asked)
    for give in _given_away(state, engaged, promised):
        steps.append(give)
        engaged.add(give.host)
    if state.plan.policy.rebalance:
        steps += _shifts(state, engaged)
    return steps


def _first_aid(state: ClusterState, host: HostState, now: float, restarts: int) -> Step | None:
    """What a host in trouble needs."""
    if host.phase == "lost":
        return Revive(host.name, "it can be reached again") if restarts < MOST_RESTARTS else None
    if host.ended and host.phase != "stopped":
        return None
    lost_after = state.plan.policy.lost_seconds
    silent = host.silent_for(now) - (START_SECONDS if host.phase == "waiting" else 0.0)
    if silent >= lost_after and host.unreachable:
        return Lose(host.name, f"not heard for {silent:.0f} s, and it cannot be reached")
    stopped = host.phase == "stopped"  # by its lease, or by somebody on that host: nobody here has asked for it
    if stopped or host.hung_up or silent >= lost_after:
        if restarts >= MOST_RESTARTS:
            return Lose(host.name, f"started {restarts} times again, without finishing a unit")
        silence = f"not heard for {silent:.0f} s"
        return Revive(host.name, host.reason if stopped else "its connection had ended" if host.hung_up else silence)
    return Probe(host.name) if silent >= lost_after / 2 and not host.unreachable else None


def free_units(state: ClusterState) -> list[int]:
    """Units that nobody does: neither committed nor given up, and their host does nothing any more.

    Of hosts that have ended only where others are to do them; what got lost between two hosts always.
    """
    reassign = state.plan.policy.on_host_failure == "reassign"
    # One that was stopped is started again first.
    ended = [host for host in state.hosts.values() if reassign and host.ended and host.phase != "stopped"]
    idle = [*ended, *(host for host in state.hosts.values() if host.phase == "idle")]
    return sorted(state.unowned.union(*(host.todo for host in idle)))


def able(state: ClusterState) -> list[HostState]:
    """Hosts that can take units."""
    return [host for host in state.hosts.values() if host.phase in {"running", "idle"} and not host.hung_up]


def finished(state: ClusterState, busy: Collection[str], *, stopping: bool = False) -> bool:
    """Whether nothing more will come of this run: hosts have ended, or wait, and there is nothing to give them."""
    if stopping:
        return all(host.settled for host in state.hosts.values())
    hosts = state.hosts.values()
    if any(
        not host.settled or host.phase == "stopped" or (host.name in busy and host.phase != "lost") for host in hosts
    ):
        return False
    if state.plan.policy.on_host_failure == "wait" and any(h.phase == "lost" and h.todo for h in state.hosts.values()):
        return False
    return not (free_units(state) and able(state))


def _given_away(state: ClusterState, engaged: Collection[str], promised: Collection[int]) -> list[Give]:
    """Free units over the hosts that can take them: the longest first, to the host that will be done first."""
    takers = [host for host in able(state) if host.name not in engaged]
    units = [ordinal for ordinal in free_units(state) if ordinal not in promised] if takers else []
    if not units:
        return []
    speeds = _speeds(state)
    fastest = max(speeds[host.name] for host in takers)
    shares: dict[str, list[int]] = {host.name: [] for host in takers}
    # (seconds until a host is through with what it has, host), ascending
    queue = sorted((_bytes_of(state, host.todo) / speeds[host.name], host.name) for host in takers)
    for ordinal in sorted(units, key=lambda ordinal: (-state.sizes[ordinal], ordinal)):
        size = state.sizes[ordinal]
        best, place = (float("inf"), ""), 0
        for index, (seconds, name) in enumerate(queue):
            if (seconds + size / fastest, name) >= best:
                break  # nor would any after it be done sooner
            if (done := (seconds + size / speeds[name], name)) < best:
                best, place = done, index
        del queue[place]
        insort(queue, best)
        shares[best[1]].append(ordinal)
    why = f"{_in_words({state.owner[ordinal] for ordinal in units})} will not do them"
    return [Give(name, tuple(sorted(share)), why) for name, share in shares.items() if share]


def _shifts(state: ClusterState, engaged: Collection[str]) -> list[Shift]:
    """For every host that is done, or nearly, the one that is furthest behind gives up what evens out their ends."""
    speeds = _speeds(state)
    hosts = [host for host in able(state) if host.name not in engaged]
    # What a host that is nearly done is given now arrives when it has nothing left.
    takers = [host for host in hosts if not host.todo or _seconds_left(state, host, speeds) < AHEAD_SECONDS]
    if not takers:
        return []
    names = {host.name for host in takers}
    pending = {host.name: _pending_bytes(state, host) for host in hosts if host.name not in names}
    seconds = {name: _seconds_left(state, state.hosts[name], speeds) for name in pending if pending[name] > 0}
    donors = sorted(seconds, key=lambda name: (-seconds[name], name))
    shifts = []
    for taker, donor in zip(takers, donors, strict=False):
        if seconds[donor] > AHEAD_SECONDS + WORTH_SECONDS:
            ours, theirs = speeds[taker.name], speeds[donor]
            shifts.append(Shift(donor, max(1, int(pending[donor] * ours / (ours + theirs)))))
    return shifts


def _seconds_left(state: ClusterState, host: HostState, speeds: Mapping[str, float]) -> float:
    """Until it is through with its share, about."""
    return _bytes_of(state, host.todo) / speeds[host.name]


def _pending_bytes(state: ClusterState, host: HostState) -> float:
    """Source bytes of units that no rank has begun, about: the host says how many there are, not which."""
    if host.phase != "running" or host.progress is None or not host.todo:
        return 0.0
    share = min(1.0, host.progress.pending / len(host.todo))
    return share * _bytes_of(state, host.todo)


def _speeds(state: ClusterState) -> dict[str, float]:
    """Source bytes per second of every host: as measured, or else as its ranks compare with those that are."""
    measured = [(host.usual, host.ranks) for host in state.hosts.values() if host.usual > 0]
    per_rank = sum(rate for rate, _ in measured) / sum(ranks for _, ranks in measured) if measured else 1e6
    return {
        host.name: max(1.0, (host.usual or host.ranks * per_rank) / state.text_per_byte)
        for host in state.hosts.values()
    }


def _bytes_of(state: ClusterState, ordinals: Iterable[int]) -> int:
    return sum(map(state.sizes.__getitem__, ordinals))


def _in_words(names: Collection[str]) -> str:
    first = ", ".join(sorted(names)[:_NAMED])
    return f"{first} and {len(names) - _NAMED} more" if len(names) > _NAMED else first
