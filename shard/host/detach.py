"""Starting a host's supervisor so that it needs nobody: in a session of its own, without a connection to anyone."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from shard.errors import DirectoryInUseError, ShardError
from shard.host.follow import Growing, supervisor_at_work
from shard.records.frozen import read_record
from shard.records.job import Job
from shard.records.progress import HostDone, HostStarted, decode

_ENDING_SECONDS = 30.0
"""How long an earlier supervisor that is just stopping is waited for."""
_TAKES_SECONDS = 90.0
"""How long a supervisor may take until it has the job, or has refused it."""
_LOOK_SECONDS = 0.05


def start_detached(job_directory: Path) -> HostStarted | HostDone:
    """Start the supervisor and wait until it has taken the job; returns its word on that, or why it has not.

    Raises DirectoryInUseError when a supervisor is at work, ShardError when the new one ends without a word.
    """
    job = read_record(job_directory / "job.json", Job)
    with (job_directory / "start.lock").open("a") as lock:
        # One start after the other: the later one finds the supervisor of the earlier.
        fcntl.flock(lock, fcntl.LOCK_EX)
        _require_nobody_at_work(job_directory, job)
        events = Growing(job_directory / "events.jsonl")
        events.skip_to_end()
        log = job_directory / "log" / "supervisor.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "shard", "run", "--job", str(job_directory)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # all of it is in events.jsonl and progress.json as well
                stderr=errors,
                start_new_session=True,
            )
        return _first_word(process, events, log)


def _require_nobody_at_work(job_directory: Path, job: Job) -> None:
    deadline = time.monotonic() + _ENDING_SECONDS
    while supervisor_at_work(job_directory):
        if time.monotonic() > deadline:
            raise DirectoryInUseError(
                f"run {job.run_id} is already at work on {job.host}; see it with 'shardfleet attach {job.run_id}', or "
                f"stop it with 'shardfleet abort {job.run_id}'"
            )
        time.sleep(_LOOK_SECONDS)


def _first_word(process: "subprocess.Popen[bytes]", events: Growing, log: Path) -> HostStarted | HostDone:
    deadline = time.monotonic() + _TAKES_SECONDS
    while True:
        code = process.poll()
        for line in events.new_lines().splitlines():
            if isinstance(event := decode(line), HostStarted | HostDone):
                return event
        if code is not None:
            said = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise ShardError(f"the supervisor ended with status {code} before it had the job: {said}")
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise ShardError(f"the supervisor has not taken the job in {_TAKES_SECONDS:.0f} s; see {log}")
        time.sleep(_LOOK_SECONDS)
