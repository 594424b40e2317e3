"""The run directory on the launcher: plan, tokenizer, script, ssh config, events, ledger."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from provision.errors import InputError, PlanError
from provision.plan.plan import PLAN_VERSION, Plan
from shard.errors import JobError
from shard.records.compression import RANKS_FILE
from shard.records.frozen import canonical_json, read_record
from shard.storage.disk import write_atomic

SCRIPT_NAME = "run_all_hosts.sh"
_ENDING_SECONDS = 3.0
_RUNS_NAMED = 5
"""How long an earlier start that is just ending is waited for."""


class RunDirectory:
    """Paths and files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.plan_file = self.path / "plan.json"
        self.script = self.path / SCRIPT_NAME
        self.ssh_config = self.path / "ssh_config"
        self.next_ssh_config = self.path / "ssh_config.next"
        """Of a launch that is being prepared: a run under way keeps its own."""
        self.events = self.path / "events.jsonl"
        self.locations = self.path / "locations.json"
        self.token = self.path / "token"
        """For the moment between `launch` and the start of the watcher."""
        self.tokenizer = self.path / "tokenizer"
        self.ranks = self.path / RANKS_FILE
        """Of a compressed run."""
        self.aborted = self.path / "aborted"
        """Made by whoever else stops the run, so that its own launcher knows why the hosts went quiet."""
        self.stopping = self.path / "stopping"
        """There once the hosts are being stopped: from then on nothing is started."""
        self.stopped = self.path / "stopped"
        """There once every host that answers has been stopped; says which did not, and why."""
        self.ledger = self.path / "ledger.jsonl"

    def removed(self, lists_sha256: str) -> Path:
        """Directory with the removal lists of a run that copies, a file for each host."""
        return self.path / f"removed-{lists_sha256[:16]}"

    def make(self) -> None:
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True, mode=0o700)
            self.tokenizer.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}; choose another with --run-dir") from error

    def read_plan(self) -> Plan:
        """Raises PlanError when there is none, or one of another version."""
        try:
            plan = read_record(self.plan_file, Plan)
        except JobError as error:
            raise PlanError(str(error)) from error
        if plan.version != PLAN_VERSION:
            raise PlanError(f"{self.plan_file}: plan version {plan.version}; this is version {PLAN_VERSION}")
        return plan

    def require_same_run(self, plan: Plan) -> None:
        """Raise InputError when the directory is another run's."""
        if self.plan_file.exists() and (found := self.read_plan().run_id) != plan.run_id:
            raise InputError(f"{self.path}: is the directory of run {found}; give this run another --run-dir")

    def write_plan(self, plan: Plan) -> None:
        write_atomic(self.plan_file, canonical_json(plan), mode=0o600)

    def mark(self, marker: Path, content: bytes = b"") -> str:
        """Make one of the markers, or add to it. Returns what kept it from being made, if anything did: want of a file
        here is no reason not to stop a host."""
        try:
            with marker.open("wb" if content else "ab") as file:
                file.write(content)
        except OSError as error:
            return f"note: {marker}: {error.strerror}"
        return ""

    def silent_when_stopped(self) -> dict[str, str]:
        """Hosts that gave no answer when they were to be stopped, and why; none where nobody has stopped them."""
        try:
            return msgspec.json.decode(self.stopped.read_bytes(), type=dict[str, str])
        except (FileNotFoundError, msgspec.DecodeError):
            return {}

    @contextmanager
    def not_running(self) -> Iterator[None]:
        """Hold the run's lock for a moment. Raises InputError when its script is under way."""
        with self._lock(_ENDING_SECONDS) as held:
            if not held:
                raise InputError(
                    f"run {self.path.name} is already under way; see 'shardfleet status {self.path}', or stop it with "
                    f"'shardfleet abort {self.path}'"
                )
            yield

    def wait_until_ended(self, seconds: float) -> bool:
        """Whether the run's script, and all that it started here, has ended within so many seconds."""
        with self._lock(seconds) as held:
            return held

    @contextmanager
    def _lock(self, seconds: float) -> Iterator[bool]:
        descriptor = os.open(self.path / "lock", os.O_WRONLY | os.O_CREAT, 0o600)
        deadline = time.monotonic() + seconds
        try:
            while not (held := _try_lock(descriptor)) and time.monotonic() < deadline:
                time.sleep(0.1)
            yield held
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def find_run(name: str) -> RunDirectory:
    """A run directory by its path, or by run id under `runs/`. Raises InputError when it is neither."""
    for candidate in (Path(name), Path("runs") / name):
        # Not Path.exists(), which raises for a name that is too long or out of reach.
        if os.path.exists(candidate / "plan.json"):  # noqa: PTH110
            return RunDirectory(candidate)
    raise InputError(f"{name}: no run directory (no plan.json in it, nor in runs/{name}); {_known_runs()}")


def _known_runs() -> str:
    """What could have been meant, the latest first."""
    try:
        plans = sorted(Path("runs").glob("*/plan.json"), key=lambda plan: plan.stat().st_mtime, reverse=True)
    except OSError:  # one that may not be listed, or has just been removed
        plans = []
    if not plans:
        return "there are none under runs/ here: name a run's directory, or go where it was launched"
    others = f", and {len(plans) - _RUNS_NAMED} more" if len(plans) > _RUNS_NAMED else ""
    return f"under runs/ there are {', '.join(plan.parent.name for plan in plans[:_RUNS_NAMED])}{others}"
