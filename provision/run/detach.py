"""The start of a detached run: which hosts have taken their job, told when the last of them has hung up."""

import json
import shlex
import time
from contextlib import ExitStack
from typing import TextIO

from provision.plan.plan import Plan
from provision.plan.rundir import RunDirectory
from provision.reach.pdsh import LogLine, hung_up, parse_line
from provision.reach.settle import stop_hosts
from provision.run.keeper import Keeper
from provision.run.shows import print_line
from provision.run.sight import look
from provision.run.watch import lines
from shard.records.progress import HostDone, HostStarted


def await_starts(run: RunDirectory, descriptor: int, output: TextIO, *, as_json: bool) -> int:
    """Read what hosts say from `descriptor` until they have hung up, and tell who is at work.

    Returns the exit code: 0 when every host is, else 1. A host that is not is left without processes and secrets.
    """
    run.token.unlink(missing_ok=True)  # every host has its own by now
    plan = run.read_plan()
    started: dict[str, int] = {}
    reasons: dict[str, str] = {}
    with ExitStack() as stack:
        keeper = Keeper(run, plan.fingerprint, lambda text: print_line(text, output), stack)
        keeper.start(plan.run_id)
        for line in lines(descriptor):
            if line is None:
                continue
            event = parse_line(line)
            kept = keeper.keep(event)
            if as_json:
                print_line(kept.decode().rstrip("\n"), output)
            if isinstance(event, HostStarted):
                started[event.host] = event.units
            elif isinstance(event, HostDone):
                reasons[event.host] = event.reason
            elif isinstance(event, LogLine) and event.host and hung_up(line) is None:
                reasons.setdefault(event.host, event.text)
    silent = [host.name for host in plan.present if host.name not in started]
    if silent and not (run.stopping.exists() or run.aborted.exists()):
        started |= _at_work_after_all(run, plan, silent)
    missing = {host: reasons.get(host, "it has not answered") for host in silent if host not in started}
    if missing and not run.stopping.exists():
        # What was sent there, and whatever may still begin.
        stop_hosts(run, plan, now=False, names=list(missing))
    if as_json:
        print_line(json.dumps({"event": "run_detached", "run_id": plan.run_id, **_facts(started, missing)}), output)
    else:
        print_line(_told(run, plan, started, missing), output)
    return 1 if missing else 0


def _at_work_after_all(run: RunDirectory, plan: Plan, names: list[str]) -> dict[str, int]:
    """Host → units, of hosts that work though they did not say so: the connection may have been lost."""
    sight = look(run, names)
    return {host.name: len(host.units) for host in plan.present if host.name in names and host.name in sight.at_work}


def _facts(started: dict[str, int], missing: dict[str, str]) -> dict[str, object]:
    return {"time": round(time.time(), 3), "started": sorted(started), "not_started": missing}


def _told(run: RunDirectory, plan: Plan, started: dict[str, int], missing: dict[str, str]) -> str:
    word = shlex.quote(str(run.path))
    told = [f"{host.name}: at work on {started[host.name]} units" for host in plan.present if host.name in started]
    told += [f"{name}: NOT started: {reason}" for name, reason in missing.items()]
    if not started:
        return "\n".join([*told, "nothing was started; when that is mended, launch again"])
    if len(plan.present) == 1:
        hosts = "1 host works by itself"
    else:
        count = f"{len(started)} of {len(plan.present)}" if missing else f"{len(plan.present)}"
        hosts = f"{count} hosts work by themselves"
    told += [
        f"run {plan.run_id}: {hosts} from here on",
        f"  shardfleet attach {word}    shows them at work; Ctrl+C there detaches",
        f"  shardfleet status {word}    how far they are",
        f"  shardfleet abort {word}    stops them",
    ]
    if missing:
        told.append("for the others: when these have ended, or after an abort, launch again")
    return "\n".join(told)
