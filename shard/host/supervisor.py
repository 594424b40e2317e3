"""One supervisor per host: opens the directories, runs the ranks, reports, and leaves nothing behind when it stops."""

import asyncio
import os
import shutil
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec

from shard.errors import ShardError, StoreError
from shard.host.claim import claimed
from shard.host.crew import Crew
from shard.host.outbox import Outbox
from shard.host.requests import Answer, AnyRequest, listening
from shard.host.share import Share
from shard.host.stops import StopWatch
from shard.processes import adopt_orphans, cookie, end_all
from shard.records.frozen import read_record
from shard.records.job import Job
from shard.records.progress import HostDone, HostStarted, HostStopping, Progress, shorten, shown_ranks
from shard.records.shards import place_of
from shard.storage.disk import write_atomic
from shard.storage.store import Directories, open_store, put_ranks, remove_unfinished, scratch_of

_EXIT_CODES = {"complete": 0, "incomplete": 1, "failed": 1, "stopped": 130}


def run_host(job_directory: Path) -> int:
    """Do a host's share of a run. Returns the exit code; raises JobError when there is no job to read."""
    job = read_record(job_directory / "job.json", Job)
    adopt_orphans()
    try:
        (job_directory / "log").mkdir(mode=0o700, exist_ok=True)
        outbox = Outbox(job_directory)
    except OSError as error:
        raise StoreError(f"{job_directory}: {error.strerror}; the home directory must be writable") from error
    try:
        with claimed(job_directory, job), open_store(job) as directories:
            put_ranks(job, directories, job_directory)
            done = asyncio.run(_supervise(job, job_directory, directories, outbox))
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


async def _supervise(job: Job, job_directory: Path, directories: Directories, outbox: Outbox) -> HostDone:
    # Here: what it is made of belongs to a running event loop.
    return await _Supervisor(job, job_directory, directories, outbox).run()


class _Supervisor:
    def __init__(self, job: Job, job_directory: Path, directories: Directories, outbox: Outbox) -> None:
        self._job = job
        self._job_directory = job_directory
        self._directories = directories
        self._outbox = outbox
        self._share = Share(job, job_directory, directories, outbox.put)
        self._crew = Crew(job, job_directory, self._share.units, outbox.put)
        self._started = time.monotonic()

    async def run(self) -> HostDone:
        """Run the ranks to the end, or until something says stop."""
        job = self._job
        watch = StopWatch(self._job_directory / "lease", job.options)
        watch.start(asyncio.get_running_loop())
        self._outbox.put(
            HostStarted(
                host=job.host,
                run_id=job.run_id,
                pid=os.getpid(),
                ranks=job.ranks,
                units=len(job.units),
                place=place_of(self._directories["train"]),
            )
        )
        self._tidy()
        self._share.begin()
        crew = self._crew
        working = asyncio.create_task(crew.run())
        stopped = asyncio.create_task(watch.stops.get())
        background = [
            asyncio.create_task(task)
            for task in (watch.watch_lease(), self._report(), self._say_when_idle(), self._finish_alone(watch))
        ]
        ends: set[asyncio.Future[Any]] = {working, stopped, crew.fatal}
        with ExitStack() as stack:
            if job.options.await_more:
                background.append(stack.enter_context(listening(self._job_directory, self._answer)))
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done() and not len(self._share.units):
            # Nothing but more work was waited for: the launcher has hung up because there is none.
            await crew.expect_no_more()
            await asyncio.wait({working}, timeout=job.options.grace_seconds)
        crew.stop()
        if working.done():
            working.result()
        if crew.fatal.done():
            stopped.cancel()  # later reasons only hasten the stopping
            await self._stop(crew.fatal.result(), watch, now=False)
            done = self._share.ended("failed", crew.fatal.result())
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
        self._outbox.put(self._progress())
        return done

    async def _answer(self, request: AnyRequest) -> Answer:
        answer = self._share.change(request)
        await self._crew.wake()
        return answer

    async def _say_when_idle(self) -> None:
        share, told = self._share, -1
        while share.job.options.await_more:
            before = told
            await self._crew.wait_until(lambda: not len(share.units) and share.requests != before)  # noqa: B023
            told = share.requests
            self._outbox.put(share.idle())

    async def _finish_alone(self, watch: StopWatch) -> None:
        """Without a launcher nobody brings more work."""
        await watch.left_alone.wait()
        await self._crew.expect_no_more()

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
        write_atomic(self._job_directory / "stopped.json", msgspec.json.encode(report), mode=0o600)
        return self._share.ended("stopped", reason)

    def _tidy(self) -> None:
        remove_unfinished(self._directories, self._share.job.units)
        shutil.rmtree(scratch_of(self._job, self._directories), ignore_errors=True)

    def _finished(self) -> HostDone:
        units = self._share.units
        if len(units):
            return self._share.ended(
                "incomplete", "no rank is left, each has crashed too often; see log/ beside the job"
            )
        return self._share.ended("incomplete" if units.quarantined else "complete")

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self._job.options.progress_seconds)
            self._outbox.put(self._progress())

    def _progress(self) -> Progress:
        crew, units = self._crew, self._share.units
        return Progress(
            host=self._job.host,
            units_done=self._share.done,
            units_failed=len(units.quarantined),
            pending=units.pending,
            documents=crew.total("documents"),
            tokens=crew.total("tokens"),
            text_bytes=crew.total("text_bytes"),
            retries=crew.total("retries"),
            seconds=round(time.monotonic() - self._started, 1),
            ranks=shown_ranks((rank, counted.unit, counted.text_bytes) for rank, counted in crew.counted.items()),
        )
