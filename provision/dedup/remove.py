"""The run that writes shards without duplicates: the plan of the one that wrote them, with other directories."""

from collections.abc import Callable, Iterator
from posixpath import normpath

from msgspec.structs import replace

from provision.catalog.types import Catalog
from provision.dedup.search import Leavings
from provision.errors import InputError
from provision.hosts import check_directory
from provision.plan.ledger import Ledger, read_ledger
from provision.plan.plan import Leftovers, Plan, run_id_of, unranked
from provision.plan.rundir import RunDirectory
from provision.prepare.holdings import holdings_of
from provision.prepare.preflight import notes, take_stock
from provision.prepare.prepare import Prepared
from provision.prepare.survey import survey_hosts
from provision.tokenizer.resolve import FetchedTokenizer
from shard.dedup.appended import identity_after, units_after
from shard.dedup.gathered import Found
from shard.records.dedup import Settings
from shard.storage.disk import make_directory, write_atomic


def require_others(plan: Plan, output_dir: str, holdout_dir: str) -> None:
    """Raise InputError for directories to make that cannot be, or that the run's own shards are in."""
    check_directory("--to", output_dir)
    check_directory("--holdout-dir", holdout_dir)
    made = {normpath(output_dir), normpath(holdout_dir)}
    if len(made) == 1:
        raise InputError(f"--to {output_dir}, --holdout-dir {holdout_dir}: one directory for both; give two")
    for host in plan.hosts:
        if made & {normpath(host.output_dir), normpath(host.holdout_dir)}:
            raise InputError(f"--to {output_dir}, holdout {holdout_dir}: {host.name} has shards there; give others")


def removal_plan(leavings: Leavings, found: Found, settings: Settings, output_dir: str, holdout_dir: str) -> Plan:
    """Every host that has units copies them, and none moves: it would have to be sent."""
    plan, homes = leavings.plan, leavings.homes
    hosts = [host for host in plan.hosts if host.name in homes]
    ranks = [host.ranks for host in hosts]
    chain = (*plan.earlier, plan.identity)
    units = units_after(chain, leavings.holdings) if plan.earlier else plan.units
    identity = identity_after(chain, units, settings, found.sha256)
    return replace(
        plan,
        run_id=run_id_of(plan.dataset, unranked(identity).fingerprint, output_dir, holdout_dir),
        fingerprint=identity.fingerprint,
        identity=identity,
        earlier=(),
        units=units,
        options=replace(plan.options, signatures=None, on_disconnect="stop"),
        policy=replace(
            plan.policy, on_host_failure="abort", rebalance=False, detached=False, gather_holdout=None, export=None
        ),
        hosts=tuple(
            replace(
                host,
                first_rank=sum(ranks[:place]),
                output_dir=output_dir,
                holdout_dir=holdout_dir,
                units=tuple(homes[host.name]),
                discard=(),
            )
            for place, host in enumerate(hosts)
        ),
        leftovers=Leftovers(
            fingerprint=plan.fingerprint,
            lists_sha256=found.sha256,
            directories={host.name: (host.output_dir, host.holdout_dir) for host in hosts},
        ),
        overwrite=False,
    )


def left_behind(plan: Plan, ledger: Ledger) -> Iterator[str]:
    """What the user should know of hosts that wrote units before, and take no part now that others have them."""
    for name in sorted({entry.host for entry in ledger.values()} - {host.name for host in plan.hosts}):
        yield (
            f"{name}: has written units that other hosts write now, and has none itself any more: remove its copies, "
            f"which stand there as well, in {plan.hosts[0].output_dir} and {plan.hosts[0].holdout_dir}"
        )


def prepare_removal(
    leavings: Leavings, found: Found, plan: Plan, run: RunDirectory, say: Callable[[str], None]
) -> Prepared:
    """Ask the hosts whether they can, and put the removal lists of each into the run's directory.

    Raises InputError, DiskFullError; what is wrong with hosts is in `checks`.
    """
    old, file = leavings.run, plan.tokenizer.file
    try:
        config = old.ssh_config.read_bytes()
        tokenizer = b"" if file is None else (old.tokenizer / file).read_bytes()
        ranks = None if plan.identity.compression is None else old.ranks.read_bytes()
    except OSError as error:
        raise InputError(
            f"{error.filename}: {error.strerror}; the run's directory is not whole: launch that run again, which keeps "
            "what its hosts have"
        ) from error
    run.require_same_run(plan)  # before anything is put there
    run.make()
    write_atomic(run.next_ssh_config, config, mode=0o600)
    if plan.leftovers is None:
        raise AssertionError("a plan that copies nothing")
    lists = run.removed(plan.leftovers.lists_sha256)
    make_directory(lists)
    for host in plan.hosts:
        found.pack(host.units, lists / host.name)
    say(f"asking {len(plan.hosts)} {'host' if len(plan.hosts) == 1 else 'hosts'}…")
    surveys = survey_hosts(plan, run.next_ssh_config)
    ledger = read_ledger(run.ledger, plan.fingerprint)
    holdings = holdings_of(plan, surveys, ledger)
    # What is said of space is an estimate from the source files, which do not count here.
    plan, checks = take_stock(plan, surveys, holdings.committed, heed_space=False)
    return Prepared(
        plan=plan,
        run=run,
        hosts=tuple(host.host for host in plan.hosts),
        catalog=Catalog(plan.dataset, (), (), {}),
        tokenizer=FetchedTokenizer(plan.tokenizer, tokenizer),
        ranks=ranks,
        surveys=surveys,
        checks=checks,
        ledger=holdings.ledger,
        notes=(*notes(plan, checks), *left_behind(plan, ledger)),
    )
