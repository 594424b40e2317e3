"""Units → hosts (pure)."""

import heapq
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from provision.plan.plan import Plan
from shard.records.unit import Unit


def assign(units: Iterable[Unit], ranks: Sequence[int], placed: Mapping[int, int]) -> list[list[int]]:
    """Unit → host, balancing bytes per rank: the longest unit first, to the host that has the fewest so far.

    `ranks` is the rank count of each host, 0 for one that gets nothing; `placed` says on which host a unit is committed
    already. Returns the ordinals of each host, ascending.
    """
    shares: list[list[int]] = [[] for _ in ranks]
    # (bytes per rank, host): the same inputs give the same plan
    loads = [(0.0, host) for host, count in enumerate(ranks) if count]
    for unit in sorted(units, key=lambda unit: (-unit.bytes, unit.ordinal)):
        if unit.ordinal in placed:
            shares[placed[unit.ordinal]].append(unit.ordinal)
            continue
        load, host = loads[0]
        heapq.heapreplace(loads, (load + unit.bytes / ranks[host], host))
        shares[host].append(unit.ordinal)
    return [sorted(share) for share in shares]


def assigned(plan: Plan, committed: Mapping[str, Iterable[int]]) -> Plan:
    """The plan with its units given to hosts; `committed` says what each host has finished already.

    Of what is still to do, hosts that are absent get nothing. Units that are copied stay where they are.
    """
    if plan.leftovers is not None:
        return plan
    index = {host.name: position for position, host in enumerate(plan.hosts)}
    placed: dict[int, int] = {}
    for name, ordinals in committed.items():
        for ordinal in ordinals:
            placed.setdefault(ordinal, index[name])
    shares = assign(plan.units, [0 if host.absent else host.ranks for host in plan.hosts], placed)
    hosts = tuple(replace(host, units=tuple(share)) for host, share in zip(plan.hosts, shares, strict=True))
    return replace(plan, hosts=hosts)
