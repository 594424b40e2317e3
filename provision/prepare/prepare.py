"""What the user asks for → a plan in its run directory, with its script."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from provision.catalog.files import files_catalog
from provision.catalog.hub import hub_catalog
from provision.catalog.inputs import require_used
from provision.catalog.named import named_catalog
from provision.catalog.types import Catalog, DatasetSpec
from provision.errors import InputError
from provision.hosts import Host, check_directory, read_hosts
from provision.plan.ledger import Ledger, read_ledger, write_ledger
from provision.plan.plan import Plan, Policy, make_plan
from provision.plan.rundir import SCRIPT_NAME, RunDirectory
from provision.prepare.append import Held, added
from provision.prepare.holdings import discarding, holdings_of, without
from provision.prepare.preflight import Checks, notes, take_stock
from provision.prepare.ranktable import with_ranks
from provision.prepare.script import render_script
from provision.prepare.survey import Surveys, survey_hosts
from provision.reach.atwork import require_nobody_at_work
from provision.reach.ssh.config import write_ssh_config
from provision.tokenizer.resolve import FetchedTokenizer, fetch_tokenizer
from shard.errors import JobError
from shard.export.options import require_exportable
from shard.records.compression import Compression
from shard.records.frozen import canonical_json
from shard.records.job import Holdout
from shard.records.options import Options
from shard.storage.disk import write_atomic

_NAMES_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Request:
    """One run, as the command line says it."""

    hosts_file: Path
    default_slots: int | None
    dataset: DatasetSpec
    tokenizer: str
    eod: str | None
    output_dir: str
    holdout_dir: str
    holdout_rate: float
    holdout_seed: int
    unit_bytes: int
    options: Options
    policy: Policy
    ssh_config: Path | None
    remote_python: str
    run_dir: Path | None
    overwrite: bool
    bos: str | None = None
    skip_unready: bool = False
    skip_space_check: bool = False
    lost: tuple[str, ...] = ()
    """Hosts that will not return."""
    compression: Compression | None = None
    """Its rank table is made when the run is prepared."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A plan whose units are given to hosts, and what it was made from."""

    plan: Plan
    run: RunDirectory
    hosts: tuple[Host, ...]
    catalog: Catalog
    tokenizer: FetchedTokenizer
    surveys: Surveys
    checks: Checks
    ranks: bytes | None
    """The rank table of a compressed run."""
    ledger: Ledger
    """As it is when the run begins."""
    notes: tuple[str, ...]
    """What the user should know before."""


def prepare(
    request: Request, say: Callable[[str], None], *, run_dir: Path | None = None, held: Held | None = None
) -> Prepared:
    """List the dataset, fetch the tokenizer, ask the hosts, and plan; with `held`, to append to that.

    Writes nothing but the run's ssh config, to `run_dir` where one is given. Raises InputError. What is wrong with
    hosts is in `checks`; whether that matters is the caller's to say.
    """
    hosts = hosts_of(request)
    tokenizer = fetch_tokenizer(request.tokenizer, eod=request.eod, bos=request.bos)
    if (export := request.policy.export) is not None:
        check_directory("--to", export.to)
        require_exportable(export.format, tokenizer.spec, export.context_length)
    say(f"listing {request.dataset.name}…")
    catalog = list_dataset(request.dataset)
    try:
        holdout = Holdout(rate=request.holdout_rate, seed=request.holdout_seed)
        adding = added(held, catalog, tokenizer.spec, holdout, request.unit_bytes)
        plan = make_plan(
            dataset=catalog.dataset,
            files=adding.files,
            earlier=adding.earlier,
            tokenizer=tokenizer.spec,
            holdout=holdout,
            options=request.options,
            policy=request.policy,
            hosts=hosts,
            output_dir=request.output_dir,
            holdout_dir=request.holdout_dir,
            unit_bytes=request.unit_bytes,
            remote_python=request.remote_python,
            local_python=sys.executable,
            overwrite=request.overwrite,
            compression=request.compression,
        )
    except JobError as error:
        raise InputError(str(error)) from error
    for host in plan.hosts:
        if host.output_dir == host.holdout_dir:
            raise InputError(f"{host.name}: shards and holdout would both go to {host.output_dir!r}")
    own_directory = request.run_dir or Path("runs") / plan.run_id
    plan, ranks = with_ranks(plan, RunDirectory(own_directory), catalog, tokenizer, say)
    run = RunDirectory(run_dir or own_directory)
    run.make()
    write_ssh_config(run.next_ssh_config, hosts, user_config=request.ssh_config)
    say(f"asking {len(hosts)} {'host' if len(hosts) == 1 else 'hosts'}…")
    surveys = survey_hosts(plan, run.next_ssh_config)
    known = without(read_ledger(RunDirectory(own_directory).ledger, plan.fingerprint), request.lost)
    holdings = holdings_of(plan, surveys, known)
    plan, checks = take_stock(
        discarding(plan, holdings),
        surveys,
        holdings.committed,
        skip_unready=request.skip_unready,
        heed_space=not request.skip_space_check,
    )
    return Prepared(
        plan=plan,
        run=run,
        hosts=hosts,
        catalog=catalog,
        tokenizer=tokenizer,
        ranks=ranks,
        surveys=surveys,
        checks=checks,
        ledger=holdings.ledger,
        notes=(*catalog.notes, *notes(plan, checks), *holdings.notes()),
    )


def hosts_of(request: Request) -> tuple[Host, ...]:
    """The hosts that a run is for. Raises InputError, for its directories, too."""
    named = read_hosts(request.hosts_file, default_slots=request.default_slots)
    hosts = _without(request.lost, named, request.hosts_file)
    check_directory("--output-dir", request.output_dir)
    check_directory("--holdout-dir", request.holdout_dir)
    return hosts


def _without(lost: Sequence[str], hosts: tuple[Host, ...], file: Path) -> tuple[Host, ...]:
    """The hosts that are not lost. Raises InputError for a name that is none of theirs, and when none is left."""
    names = {host.name for host in hosts}
    if unknown := [name for name in lost if name not in names]:
        shown = ", ".join(sorted(names)[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
        raise InputError(f"--lost {unknown[0]}: no such host in {file}, which names {shown}")
    left = tuple(host for host in hosts if host.name not in lost)
    if not left:
        raise InputError(f"--lost {' --lost '.join(lost)}: no host is left; name those that are there in hosts.txt")
    return left


def list_dataset(spec: DatasetSpec) -> Catalog:
    """A directory if there is one of that name, a URL if it looks like one, else a dataset on the Hub; or several.

    Raises CatalogError.
    """
    catalog = named_catalog(spec, _list_one) if spec.named else _list_one(spec)
    require_used(spec.input, catalog.dataset.input, where=spec.name)
    return catalog


def _list_one(spec: DatasetSpec) -> Catalog:
    # Not Path.exists(), which raises for a name that is too long. What is to be done about a file is said there.
    if "://" in spec.name or spec.name.startswith(("/", "./", "../", "~")) or os.path.exists(spec.name):  # noqa: PTH110
        return files_catalog(spec)
    return hub_catalog(spec)


def write_run(prepared: Prepared) -> Path:
    """Write plan, tokenizer and script; a copy of the script goes to the working directory. Returns the copy's path.

    Raises InputError when the run is under way.
    """
    run, plan = prepared.run, prepared.plan
    script = render_script(plan, run_dir=run.path, python=sys.executable)
    run.require_same_run(plan)
    with run.not_running():
        if run.plan_file.exists():  # by the plan they work by, which is replaced here
            require_nobody_at_work(run, run.read_plan())
        run.next_ssh_config.replace(run.ssh_config)
        run.write_plan(plan)
        write_ledger(run.ledger, plan.fingerprint, prepared.ledger)
        if plan.tokenizer.file is not None:
            write_atomic(run.tokenizer / plan.tokenizer.file, prepared.tokenizer.data)
        if prepared.ranks is not None:
            write_atomic(run.ranks, prepared.ranks)
        if prepared.catalog.locations:
            write_atomic(run.locations, canonical_json(prepared.catalog.locations), mode=0o600)
        write_atomic(run.script, script.encode(), mode=0o755)
    copy = Path.cwd() / SCRIPT_NAME
    if copy != run.script:
        try:
            shutil.copy2(run.script, copy)
        except OSError as error:
            raise InputError(f"{copy}: {error.strerror}; run this where you may write, or run {run.script}") from error
    return copy
