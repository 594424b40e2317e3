"""dedup of what a run has left on its hosts."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from provision.cli.dedupsaid import curve, estimate, require_few
from provision.cli.runs import say, start
from provision.cli.stopping import stopped_by_ctrl_c
from provision.dedup.remove import prepare_removal, removal_plan, require_others
from provision.dedup.search import Leavings, leavings_of, search, sources, unsigned, work_directory
from provision.dedup.sign import require_text, write_signing_run
from provision.errors import NotProvenStoppedError, ProvisionError
from provision.plan.plan import Plan
from provision.plan.rundir import SCRIPT_NAME, RunDirectory, find_run
from provision.reach.atwork import require_nobody_at_work
from provision.reach.settle import stop_hosts
from provision.run.push import without_secrets
from shard.dedup.gathered import Found
from shard.dedup.pairs import require_duckdb
from shard.dedup.run import at_work
from shard.records.dedup import Settings


def dedup_run(
    name: str,
    targets: tuple[str, str | None],
    settings: Settings,
    max_removed: float,
    memory: int | None,
    *,
    dry_run: bool,
    run_dir: Path | None,
    style: Sequence[str],
) -> None:
    """Write the shards of a run anew on its hosts, and do not return: from then on this process is that run's script.

    Raises InputError, NotReadyError, RemoteError, TooManyDuplicatesError, ShardError.
    """
    require_duckdb()  # before hours of work, not after them
    run = find_run(name)
    output_dir = targets[0]
    holdout_dir = targets[1] or f"{output_dir.rstrip('/')}_holdout"
    require_others(run.read_plan(), output_dir, holdout_dir)
    if settings.scheme.kind == "minhash":
        say(curve(settings))
    say("asking the hosts what they hold…")
    work = work_directory(run, settings)
    with at_work(work):
        leavings, found = _search(run, settings, work, memory, style)
        lists = work / "removed"
        say(estimate(found.duplicates, settings, lists))
        if dry_run:
            return
        require_few(found.duplicates, max_removed, lists)
        plan = removal_plan(leavings, found, settings, output_dir, holdout_dir)
        prepared = prepare_removal(leavings, found, plan, RunDirectory(run_dir or Path("runs") / plan.run_id), say)
    say(f"{work}: keys and removal lists; remove it when they are of no more use")
    start(prepared, plain="--plain" in style, as_json="--json" in style)


def _search(
    run: RunDirectory, settings: Settings, work: Path, memory: int | None, style: Sequence[str], *, signed: bool = False
) -> tuple[Leavings, Found]:
    """What is to be removed of what. Signatures that are missing are made first, by the run's own ranks, unless those
    have just been `signed`."""
    with _alone(run) as plan:
        leavings = leavings_of(run, plan, say)
        sources(leavings, settings)  # before hours of signing, not after them
        # Where nothing is compared nothing is needed for it.
        lacking = 0 if settings.scope == "none" else unsigned(leavings, settings.scheme)
        if not lacking:
            with click.progressbar(length=len(leavings.kept), label="keys of units", file=sys.stderr) as bar:
                return leavings, search(leavings, settings, work, memory, bar.update)
    if signed:
        raise ProvisionError(f"{lacking} units have no signatures still; see 'shardfleet status {run.path}'")
    require_text(leavings)
    say(f"{lacking:,} of {len(leavings.kept):,} units have no signatures by this scheme; the ranks make them now")
    write_signing_run(leavings, settings.scheme)
    if code := _run_script(run, style):
        sys.exit(code)
    return _search(run, settings, work, memory, style, signed=True)


@contextmanager
def _alone(run: RunDirectory) -> Iterator[Plan]:
    """Nobody else starts the run while its hosts are asked: Ctrl+C ends all there that carries the run's cookie.

    Raises InputError when the run is at work, NotProvenStoppedError where the end of what was asked cannot be shown.
    """
    with run.not_running():
        plan = run.read_plan()
        require_nobody_at_work(run, plan)

        def stop() -> None:
            answers = stop_hosts(run, plan, now=True)
            for reason in answers.silent.values():
                say(reason)
            if not answers.proven:
                raise NotProvenStoppedError(f"not shown to be stopped: {', '.join(answers.unproven)}") from None

        with stopped_by_ctrl_c(stop):
            yield plan


def _run_script(run: RunDirectory, style: Sequence[str]) -> int:
    """Returns its exit code; 130 also where it was complete before it could be stopped, so that nothing follows.

    Ctrl+C reaches it as well, and it answers for both; other signals are passed on.
    """
    process = subprocess.Popen(["bash", SCRIPT_NAME, *style], cwd=run.path, env=without_secrets())
    told = False

    def heed(number: int, _: FrameType | None) -> None:
        nonlocal told
        told = True
        if number != signal.SIGINT:
            process.send_signal(number)

    before = {
        number: signal.signal(number, heed)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # under nohup, or in the background of a script
    }
    try:
        # Through any number of signals: the script is stopping the hosts, and says when they are quiet.
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 130 if told and code == 0 else code
