"""While a run is on: hosts that hang up are started again, units of lost hosts move, hosts that are behind get help.

`balance` decides; here it is done, in threads, one thing at a time for each host. What comes of it goes through the
cluster's state like all events.
"""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from msgspec.structs import replace

from provision.errors import ProvisionError, RemoteError
from provision.plan.plan import HostPlan
from provision.plan.rundir import RunDirectory
from provision.reach.fleet import open_channel
from provision.reach.pdsh import LogLine, pdsh_argv, pdsh_command
from provision.reach.remote import ask_shard, job_argument
from provision.reach.settle import stop_host, stop_hosts
from provision.run.balance import Give, Lose, Probe, Revive, Shift, Step, next_steps
from provision.run.monitor import ClusterState
from provision.run.push import Package, push_one
from shard.host.requests import AnyRequest, Release, Take, decode_answer, encode_request
from shard.records.progress import AnyEvent, HostLost, HostRestarted, UnitsMoved, ranges_of

_THREADS = 16
_AGAIN_SECONDS = 5.0
"""Between two tries of what a host has failed."""
_RETURN_SECONDS = 15.0
"""Between two looks whether a lost host is back."""
_REQUEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of one step: an answer, or why there is none."""

    step: Step
    answer: tuple[int, ...] = ()
    error: str = ""


class Tender:
    """Does what `balance` decides, without keeping the watcher waiting."""

    def __init__(self, run: RunDirectory, state: ClusterState, package: Package, descriptor: int) -> None:
        """`descriptor` is the end from which the watcher reads what hosts say."""
        self._run = run
        self._state = state
        self._package = package
        self._descriptor = descriptor
        self._hosts = {host.name: host for host in state.plan.present}
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="tend")
        self._under_way: dict[str, Future[_Outcome]] = {}
        self._unanswered: dict[str, tuple[Step, AnyRequest]] = {}
        """Requests that may or may not have been taken in: made again just as they were."""
        self._rest_until: dict[str, float] = {}
        self._restarts: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._started: list[subprocess.Popen[bytes]] = []
        self._aborting = False
        # While a host is waited for, the watcher goes on, even if no other is connected any more.
        self._open = [self._events()] if state.plan.policy.on_host_failure == "wait" else []

    @property
    def busy(self) -> set[str]:
        """Hosts for which something is under way."""
        return {*self._under_way, *self._unanswered}

    @property
    def stopping(self) -> bool:
        """Whether the hosts are being stopped: nothing is started any more."""
        return self._run.stopping.exists() or self._run.aborted.exists()

    def step(self, now: float) -> Iterator[AnyEvent | LogLine]:
        """Take in what has been done, and begin what is to be done next. Never waits."""
        for name, doing in [*self._under_way.items()]:
            if doing.done():
                del self._under_way[name]
                yield from self._taken_in(name, doing.result(), now)
        if self.stopping:
            self._unanswered.clear()
            return
        self._forgive()
        resting = {name for name, until in self._rest_until.items() if now < until}
        promised = {unit for step, _ in self._unanswered.values() if isinstance(step, Give) for unit in step.units}
        for step in next_steps(
            self._state,
            now,
            busy=self._under_way.keys(),
            resting=resting,
            asked=self._unanswered.keys(),
            promised=promised,
            restarts=self._restarts,
        ):
            if isinstance(step, Lose):
                self._give_up_on(step.host)
                yield HostLost(host=step.host, reason=step.reason)
            else:
                self._begin(step)
        # After these: a host that cannot be reached must come to be lost, however often it is asked.
        for name, (step, request) in self._unanswered.items():
            if name not in self._under_way and name not in resting:
                self._submit(name, step, self._request(self._hosts[name], request))
        if self._state.plan.policy.on_host_failure == "abort" and not self._aborting:
            yield from self._perhaps_abort()

    def close(self) -> None:
        """Let go of the hosts that were started here."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()
        for process in self._started:
            process.kill()
            process.wait()

    def _begin(self, step: Probe | Revive | Give | Shift) -> None:
        host = self._hosts[step.host]
        number = self._state.hosts[step.host].requests + 1
        match step:
            case Probe():
                self._submit(step.host, step, self._probe(host))
            case Revive():
                self._give_up_on(step.host)
                self._submit(step.host, step, self._revive(host))
            case Give():
                units = tuple(self._state.plan.unit(ordinal) for ordinal in step.units)
                self._unanswered[step.host] = step, Take(number=number, units=units)
            case Shift():
                self._unanswered[step.host] = step, Release(number=number, bytes=step.bytes)
        if step.host in self._unanswered:
            self._submit(step.host, step, self._request(host, self._unanswered[step.host][1]))

    def _give_up_on(self, name: str) -> None:
        """Nothing more is asked of this host as it is; what it may have taken without our knowing is not its own."""
        step, _ = self._unanswered.pop(name, (None, None))
        if isinstance(step, Give):
            self._state.hosts[name].gone.update(step.units)

    def _submit(self, name: str, step: Step, deed: Callable[[], tuple[int, ...]]) -> None:
        def outcome() -> _Outcome:
            try:
                return _Outcome(step, deed())
            except (ProvisionError, OSError) as error:
                return _Outcome(step, error=str(error))

        self._under_way[name] = self._pool.submit(outcome)

    def _probe(self, host: HostPlan) -> Callable[[], tuple[int, ...]]:
        def deed() -> tuple[int, ...]:
            open_channel(host.host, self._run.ssh_config).close()
            return ()

        return deed

    def _revive(self, host: HostPlan) -> Callable[[], tuple[int, ...]]:
        known = self._state.hosts[host.name]
        share = replace(host, units=tuple(sorted(known.todo | known.done)))
        owners = {ordinal: self._state.hosts[self._state.owner[ordinal]] for ordinal in known.gone}
        # On a shared file system the others' shards are the very same files.
        discard = [ordinal for ordinal, owner in owners.items() if owner.place != known.place]

        def deed() -> tuple[int, ...]:
            with open_channel(host.host, self._run.ssh_config) as channel:
                if left := stop_host(channel, self._state.plan, host, now=False):
                    raise RemoteError(f"{host.name}: still running: {'; '.join(left)}")
                push_one(channel, self._package, share, discard=discard)
            return ()

        return deed

    def _request(self, host: HostPlan, request: AnyRequest) -> Callable[[], tuple[int, ...]]:
        def deed() -> tuple[int, ...]:
            with open_channel(host.host, self._run.ssh_config) as channel:
                answer = ask_shard(
                    channel,
                    self._state.plan,
                    host,
                    "assign",
                    *job_argument(self._state.plan, host),
                    timeout=_REQUEST_SECONDS,
                    stdin=encode_request(request),
                )
            return tuple(decode_answer(answer))

        return deed

    def _taken_in(self, name: str, outcome: _Outcome, now: float) -> Iterator[AnyEvent | LogLine]:
        host = self._state.hosts[name]
        if outcome.error:
            host.unreachable = True
            if name not in self._rest_until:
                yield LogLine(None, outcome.error)  # it names the host
            self._rest_until[name] = now + (_RETURN_SECONDS if host.phase == "lost" else _AGAIN_SECONDS)
            return
        self._rest_until.pop(name, None)
        if isinstance(outcome.step, Give | Shift) and self._unanswered.pop(name, None) is None:
            return  # given up on, meanwhile
        match outcome.step:
            case Revive(reason=reason):
                self._restarts[name] += 1
                if not self.stopping:
                    self._start(self._hosts[name])
                    yield HostRestarted(host=name, reason=reason)
            case Give(units=units, why=why):
                yield UnitsMoved(host=name, units=ranges_of(units), why=why)
            case Shift():
                self._state.release(name, outcome.answer)

    def _start(self, host: HostPlan) -> None:
        """Start a host's supervisor; what it says comes to the watcher like that of all others."""
        plan = self._state.plan
        command = pdsh_command(plan, plan.python_on(host))
        tether = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        events = self._events()
        try:
            self._started.append(
                subprocess.Popen(
                    [*tether, *pdsh_argv([host.host], command, local=host.host.is_local)],
                    cwd=self._run.path,
                    env={**os.environ, "PDSH_SSH_ARGS_APPEND": "-F ssh_config"},
                    stdout=events,
                    stderr=events,
                    start_new_session=True,
                )
            )
        finally:
            os.close(events)

    def _events(self) -> int:
        """An end that can be written to, of what the watcher reads."""
        return os.open(f"/proc/self/fd/{self._descriptor}", os.O_WRONLY)

    def _forgive(self) -> None:
        """A host that finishes units is worth its restarts."""
        for name, host in self._state.hosts.items():
            if len(host.done) > self._done[name]:
                self._done[name] = len(host.done)
                self._restarts[name] = 0

    def _perhaps_abort(self) -> Iterator[AnyEvent | LogLine]:
        for host in self._state.hosts.values():
            if host.phase in {"lost", "failed", "incomplete", "stopped"} and host.todo:
                self._aborting = True
                reason = f"{host.name} {host.phase}: {host.reason or 'it could not do its units'}"
                unmade = self._run.mark(self._run.aborted, f"{reason} (--on-host-failure abort)\n".encode())
                self._pool.submit(stop_hosts, self._run, self._state.plan, now=False)
                if unmade:
                    yield LogLine(None, unmade)
                yield LogLine(None, f"stopping every host: {reason}")
                return
