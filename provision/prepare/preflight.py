"""Can every host take part? Surveys → the plan over those that can, or a refusal with every reason (pure)."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from provision.errors import NotReadyError
from provision.plan.assign import assigned
from provision.plan.plan import Plan
from provision.prepare.checks import Check, checks_of
from provision.prepare.survey import Surveys

Checks = Mapping[str, tuple[Check, ...]]
"""By host name, in the order of the plan."""


def take_stock(
    plan: Plan,
    surveys: Surveys,
    committed: Mapping[str, list[int]],
    *,
    skip_unready: bool = False,
    heed_space: bool = True,
) -> tuple[Plan, Checks]:
    """The plan with its units given to hosts, and what was looked at on each.

    With `skip_unready`, hosts that fail a check are absent from the plan, as long as one remains: what they have
    committed is theirs, the rest goes to the others, whose room is looked at again.
    """
    left_out: dict[str, tuple[Check, ...]] = {}
    while True:
        plan = assigned(plan, committed)
        done = frozenset(ordinal for ordinals in committed.values() for ordinal in ordinals)
        checks = {
            host.name: left_out.get(host.name) or checks_of(plan, host, surveys[host.name], done, heed_space=heed_space)
            for host in plan.hosts
        }
        unready = {host.name for host in plan.present if failures(checks[host.name])}
        if not skip_unready or not unready or len(unready) == len(plan.present):
            return plan, checks
        left_out |= {name: checks[name] for name in unready}
        hosts = tuple(replace(host, absent=host.absent or host.name in unready) for host in plan.hosts)
        plan = replace(plan, hosts=hosts)


def failures(checks: Iterable[Check]) -> list[Check]:
    """Those that failed."""
    return [check for check in checks if check.level == "failed"]


def require_ready(plan: Plan, checks: Checks) -> None:
    """Raise NotReadyError, naming every host that cannot take part, if one of them is to."""
    if any(failures(checks[host.name]) for host in plan.present):
        lines = [f"  {name}: {check.text}" for name, found in checks.items() for check in failures(found)]
        raise NotReadyError("\n".join(["not started:", *lines]))


def notes(plan: Plan, checks: Checks) -> list[str]:
    """What the user should know and need not act on; hosts with the same to say share a line."""
    hosts_of: dict[str, list[str]] = {}
    for host in plan.hosts:
        for check in checks[host.name]:
            if check.level == "note":
                hosts_of.setdefault(check.text, []).append(host.name)
    found = [f"{_names(names)}: {text}" for text, names in hosts_of.items()]
    for host in plan.hosts:
        if host.absent:
            reasons = "; ".join(check.text for check in failures(checks[host.name]))
            found.append(f"going on without {host.name}, whose {len(host.units)} finished units count: {reasons}")
    return found


def _names(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more hosts"
