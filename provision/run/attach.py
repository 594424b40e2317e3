"""Following a run from anywhere: reads what hosts say as they say it, and changes nothing on them.

A run with a launcher keeps its events here, but for the progress: that comes from the hosts. Without one, all does.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

from provision.errors import InputError, RemoteError
from provision.plan.ledger import read_ledger
from provision.plan.plan import Plan
from provision.plan.rundir import RunDirectory
from provision.reach.pdsh import LogLine, follower_command, parse_line, pdsh_argv
from provision.run.keeper import KeptEvents, stamped
from provision.run.monitor import ClusterState
from provision.run.shows import Style, show_as
from provision.run.sight import Sight, look
from provision.run.watch import lines
from shard.records.progress import AnyEvent, Progress, UnitsMoved

_TURN_SECONDS = 0.5
_STARTING_SECONDS = 180.0
"""How long hosts of a detached run may take to be started."""


def attach(run: RunDirectory, output: TextIO, style: Style) -> Sight:
    """Show the run until its hosts have ended; returns how it stands then.

    Raises RemoteError when the connection to hosts that are still at work was lost.
    """
    plan = run.read_plan()
    if plan.policy.detached and not run.wait_until_ended(_STARTING_SECONDS):
        raise InputError(f"run {plan.run_id}: its hosts are still being started; try again")
    _show(run, plan, output, style, watched=not run.wait_until_ended(0.0))
    sight = look(run)
    if sight.at_work:
        raise RemoteError(
            f"the connection to {', '.join(sorted(sight.at_work))} was lost, where the run is still at work; attach "
            f"again with 'shardfleet attach {run.path}'"
        )
    return sight


def _show(run: RunDirectory, plan: Plan, output: TextIO, style: Style, *, watched: bool) -> None:
    """Show what comes until the launcher, where the run is `watched` by one, or else every host has ended."""
    state = ClusterState(plan, read_ledger(run.ledger, plan.fingerprint))
    kept = KeptEvents(run)

    def here(event: AnyEvent | LogLine) -> bool:
        """Whether the launcher's file is where this is to be read."""
        return not isinstance(event, Progress | LogLine) if watched else isinstance(event, UnitsMoved)

    with ExitStack() as stack:
        show = show_as(style, output, stack, ctrl_c="detaches")

        def take(event: AnyEvent | LogLine, told: float) -> None:
            state.apply(event, told)
            show.line(state, stamped(event))

        def take_kept() -> None:
            for told, event in kept.new():
                if here(event):
                    take(event, told)

        take_kept()
        turned = time.monotonic()
        drawn: float | None = None
        heard = False
        for line in lines(stack.enter_context(_following(run, plan, stay=watched))):
            if line is not None:
                heard = True
                event = parse_line(line)
                if not here(event):
                    take(event, time.time())
            now = time.monotonic()
            if now - turned >= _TURN_SECONDS:
                turned = now
                ended = watched and run.wait_until_ended(0.0)
                take_kept()
                if ended:
                    break
            # First when all that has happened so far is in: when nothing more comes at once.
            if (line is None and heard) if drawn is None else now - drawn >= show.every:
                drawn = now
                show.draw(state, _seconds_gone(state))
        show.draw(state, _seconds_gone(state))


@contextmanager
def _following(run: RunDirectory, plan: Plan, *, stay: bool) -> Iterator[int]:
    """A descriptor from which to read what all hosts say; it ends with the last of them.

    Their followers end when this does, however that comes about: their standard input is pdsh's to keep open.
    """
    if shutil.which("pdsh") is None:
        raise InputError(
            "pdsh is not installed, and it is needed to follow hosts: apt install pdsh, or dnf install pdsh"
        )
    tether = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    reading, writing = os.pipe()
    started: list[subprocess.Popen[bytes]] = []
    try:
        for local, python in ((False, plan.remote_python), (True, plan.local_python)):
            if hosts := [host.host for host in plan.present if host.host.is_local == local]:
                argv = pdsh_argv(hosts, follower_command(plan, python, stay=stay), local=local)
                started.append(
                    subprocess.Popen(
                        [*tether, *argv],
                        cwd=run.path,
                        env={**os.environ, "PDSH_SSH_ARGS_APPEND": "-F ssh_config"},
                        stdin=subprocess.DEVNULL,
                        stdout=writing,
                        stderr=writing,
                        start_new_session=True,  # a Ctrl+C is this process's to answer
                    )
                )
        os.close(writing)
        writing = -1
        yield reading
    finally:
        for process in started:
            process.kill()
            process.wait()
        for descriptor in (reading, writing):
            if descriptor >= 0:
                os.close(descriptor)


def _seconds_gone(state: ClusterState) -> float:
    """Since the hosts began, by those that are longest at work."""
    return max((host.progress.seconds for host in state.hosts.values() if host.progress is not None), default=0.0)
