"""Another start of a finished run, in which ranks add signatures to what they have written."""

import sys

from msgspec.structs import replace

from provision.dedup.search import Leavings
from provision.errors import InputError
from provision.plan.plan import Plan
from provision.prepare.script import render_script
from provision.reach.atwork import require_nobody_at_work
from provision.run.push import hand_over_token
from shard.dedup.appended import units_there
from shard.errors import JobError
from shard.records.dedup import Scheme
from shard.signatures.text import token_bytes_of
from shard.storage.disk import write_atomic
from shard.tokenizer.load import load_reference


def signing_plan(leavings: Leavings, scheme: Scheme) -> Plan:
    """Every unit at the host that has it, those that have none left out; no holdout is brought and nothing exported at
    the end.

    Raises InputError where a host cannot be told of a unit.
    """
    plan, homes = leavings.plan, leavings.homes
    try:
        there = units_there(leavings.holdings[: plan.identity.first_unit])
    except JobError as error:
        raise InputError(
            f"{error}: where joined directories were appended to, hosts cannot be told of their units. Deduplicate the "
            "directories on one machine that sees all of them: shardfleet dedup DIR HOLDOUT"
        ) from error
    return replace(
        plan,
        units=(*there, *(unit for unit in plan.units if plan.has(unit.ordinal))),
        options=replace(plan.options, signatures=scheme, on_disconnect="stop"),
        policy=replace(
            plan.policy, on_host_failure="abort", rebalance=False, detached=False, gather_holdout=None, export=None
        ),
        hosts=tuple(
            replace(host, units=tuple(homes.get(host.name, ())), absent=host.name not in homes, discard=())
            for host in plan.hosts
        ),
        # What is there is what was asked for: whatever has taken its place since is not for this start to remove.
        overwrite=False,
    )


def require_text(leavings: Leavings) -> None:
    """Raise TokenizerError where ranks could not have the text back that signatures are made of."""
    spec = leavings.plan.tokenizer
    token_bytes_of(load_reference(spec, leavings.run.tokenizer), spec.vocab_size, spec.frame)


def write_signing_run(leavings: Leavings, scheme: Scheme) -> None:
    """Write its plan and its script into the run's directory. Raises InputError when the run is under way."""
    run, plan = leavings.run, signing_plan(leavings, scheme)
    with run.not_running():
        require_nobody_at_work(run, leavings.plan)
        run.write_plan(plan)
        write_atomic(run.script, render_script(plan, run_dir=run.path, python=sys.executable).encode(), mode=0o755)
    hand_over_token(run, plan)
