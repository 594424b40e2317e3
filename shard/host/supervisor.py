"""One supervisor per host: opens the directories, runs the ranks, reports, and leaves nothing behind when it stops."""

import asyncio
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from shard.disk import write_atomic
from shard.errors import DirectoryInUseError, ShardError, StoreError
from shard.host.crew import Crew
from shard.host.outbox import Outbox
from shard.host.processes import adopt_orphans, cookie, describe, end_all
from shard.host.schedule import UnitQueue
from shard.host.stops import StopWatch
from shard.job import Job, read_record
from shard.progress import (
    HostDone,
    HostStarted,
    HostStopping,
    Progress,
    UnitsKept,
    ranges_of,
    shorten,
    shown_ranks,
)
from shard.records import ShardRecord, Split
from shard.store import Directories, committed, open_store, remove_unfinished, scratch_of

PID_FILE = "supervisor.json"
SECRET_FILES = ("token", "locations.json")
_LOCK_WAIT_SECONDS = 30.0
_KEPT_PER_LINE = 150
_EXIT_CODES = {"complete": 0, "incomplete": 1, "failed": 1, "stopped": 130}


def run_host(job_directory: Path) -> int:
    """Do a host's share of a run. Returns the exit code; raises JobError when there is no job to read."""
    job = read_record(job_directory / "job.json", Job)
    adopt_orphans()
    try:
        (job_directory / "log").mkdir(exist_ok=True)
        outbox = Outbox(job_directory)
    except OSError as error:
        raise StoreError(f"{job_directory}: {error.strerror}; the home directory must be writable") from error
    try:
        with _only_one(job_directory, job), open_store(job) as directories:
            done = asyncio.run(_Supervisor(job, job_directory, directories, outbox).run())
        code = _EXIT_CODES[done.outcome]
    except ShardError as error:
        done = HostDone(
            host=job.host,
            outcome="failed",
            units_done=0,
            units=len(job.units),
            quarantined=[],
            reason=shorten(str(error)),
        )
        code = error.exit_code
    outbox.put(done)
    outbox.close()
    return code


def remove_secrets(job_directory: Path) -> None:
    """Remove what was sent for the length of the run only."""
    for name in SECRET_FILES:
        (job_directory / name).unlink(missing_ok=True)
    for unfinished in job_directory.glob(".shardfleet-*"):  # files whose sending was cut short
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _only_one(job_directory: Path, job: Job) -> Iterator[None]:
    """Hold the job's lock, waiting a little for an earlier supervisor that is just stopping.

    Raises DirectoryInUseError when it does not stop.
    """
    with (job_directory / "lock").open("a") as lock:
        deadline = time.monotonic() + _LOCK_WAIT_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DirectoryInUseError(
                        f"run {job.run_id} is already at work on {job.host}; "
                        f"stop it with 'shardfleet abort {job.run_id}'"
                    ) from None
                time.sleep(0.1)
        me = describe(os.getpid())
        write_atomic(job_directory / PID_FILE, msgspec.json.encode(me), mode=0o600)
        (job_directory / "stopped.json").unlink(missing_ok=True)
        # Ranks of a supervisor that was killed die with it, what they started may not have.
        end_all(cookie(job.run_id, job.host), grace_seconds=0)
        mine = {name: _inode(job_directory / name) for name in SECRET_FILES}
        try:
            yield
        finally:
            for name, inode in mine.items():
                # A file sent since then is of another start, which waits for this lock.
                if inode is not None and _inode(job_directory / name) == inode:
                    (job_directory / name).unlink(missing_ok=True)


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None


class _Supervisor:
    def __init__(self, job: Job, job_directory: Path, directories: Directories, outbox: Outbox) -> None:
        self._job = job
        self._job_directory = job_directory
        self._directories = directories
        self._outbox = outbox
        self._started = time.monotonic()
        self._units = UnitQueue((), attempts=job.options.attempts)

    async def run(self) -> HostDone:
        """Run the ranks to the end, or until something says stop."""
        job = self._job
        watch = StopWatch(self._job_directory / "lease", job.options)
        watch.start(asyncio.get_running_loop())
        self._outbox.put(
            HostStarted(host=job.host, run_id=job.run_id, pid=os.getpid(), ranks=job.ranks, units=len(job.units))
        )
        self._tidy()
        self._keep_committed()
        crew = Crew(job, self._job_directory, self._units, self._outbox.put)
        working = asyncio.create_task(crew.run())
        stopped = asyncio.create_task(watch.stops.get())
        background = [asyncio.create_task(watch.watch_lease()), asyncio.create_task(self._report(crew))]
        ends: set[asyncio.Future[Any]] = {working, stopped, crew.fatal}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        crew.stop()
        if working.done():
            working.result()
        if crew.fatal.done():
            stopped.cancel()  # later reasons only hasten the stopping
            await self._stop(crew.fatal.result(), watch, now=False)
            done = self._done("failed", crew.fatal.result())
        elif working.done():
            done = self._finished()
        else:
            done = await self._stop(stopped.result().reason, watch, now=stopped.result().now)
        # Its ranks have ended; that it may learn so itself, and asyncio is left with no child unreaped.
        await asyncio.wait({working}, timeout=1.0)
        for task in (working, stopped, *background):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await working
        self._tidy()
        self._outbox.put(self._progress(crew))
        return done

    def _keep_committed(self) -> None:
        """Sort the units into those that are done and those to do."""
        kept: dict[int, dict[Split, ShardRecord]] = {}
        for unit in self._job.units:
            if (records := committed(self._job, self._directories, unit)) is not None:
                kept[unit.ordinal] = records
        todo = [unit for unit in self._job.units if unit.ordinal not in kept]
        self._units = UnitQueue(todo, attempts=self._job.options.attempts)
        ordinals = sorted(kept)
        for first in range(0, len(ordinals), _KEPT_PER_LINE):
            self._outbox.put(
                _kept_event(self._job.host, {o: kept[o] for o in ordinals[first : first + _KEPT_PER_LINE]})
            )

    async def _stop(self, reason: str, watch: StopWatch, *, now: bool) -> HostDone:
        self._outbox.put(HostStopping(host=self._job.host, reason=shorten(reason)))
        wanted = cookie(self._job.run_id, self._job.host)
        grace = 0.0 if now else self._job.options.grace_seconds
        ending = asyncio.create_task(asyncio.to_thread(end_all, wanted, grace_seconds=grace))
        while not ending.done():
            hastened = asyncio.create_task(watch.stops.get())
            either: set[asyncio.Future[Any]] = {ending, hastened}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if hastened.done() and hastened.result().now:
                await asyncio.to_thread(end_all, wanted, grace_seconds=0.0)
            hastened.cancel()
        left = ending.result()
        report = {"reason": reason, "left": [process.command for process in left]}
        write_atomic(self._job_directory / "stopped.json", msgspec.json.encode(report))
        return self._done("stopped", reason)

    def _tidy(self) -> None:
        remove_unfinished(self._directories, self._job.units)
        shutil.rmtree(scratch_of(self._job, self._directories), ignore_errors=True)

    def _finished(self) -> HostDone:
        if len(self._units):
            return self._done("incomplete", "no rank is left, each has crashed too often; see log/ beside the job")
        return self._done("incomplete" if self._units.quarantined else "complete")

    def _done(self, outcome: str, reason: str = "") -> HostDone:
        return HostDone(
            host=self._job.host,
            outcome=outcome,  # type: ignore[arg-type]
            units_done=len(self._job.units) - len(self._units) - len(self._units.quarantined),
            units=len(self._job.units),
            quarantined=self._units.quarantined[:200],
            reason=shorten(reason),
        )

    async def _report(self, crew: Crew) -> None:
        while True:
            await asyncio.sleep(self._job.options.progress_seconds)
            self._outbox.put(self._progress(crew))

    def _progress(self, crew: Crew) -> Progress:
        return Progress(
            host=self._job.host,
            units_done=len(self._job.units) - len(self._units) - len(self._units.quarantined),
            units_failed=len(self._units.quarantined),
            documents=crew.total("documents"),
            tokens=crew.total("tokens"),
            text_bytes=crew.total("text_bytes"),
            retries=crew.total("retries"),
            seconds=round(time.monotonic() - self._started, 1),
            ranks=shown_ranks((rank, counted.unit, counted.text_bytes) for rank, counted in crew.counted.items()),
        )


def _kept_event(host: str, kept: dict[int, dict[Split, ShardRecord]]) -> UnitsKept:
    return UnitsKept(
        host=host,
        units=ranges_of(kept),
        documents=sum(records["train"].documents for records in kept.values()),
        holdout_documents=sum(records["holdout"].documents for records in kept.values()),
        tokens=sum(records["train"].tokens for records in kept.values()),
        holdout_tokens=sum(records["holdout"].tokens for records in kept.values()),
        dropped=sum(sum(records["train"].dropped.values()) for records in kept.values()),
    )
