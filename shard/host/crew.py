"""The rank processes of one host: started, given units, listened to, started again when they crash."""

import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from shard.host.commits import counts_of
from shard.host.ranklink import Broken, Committed, Counted, Failed, Ready, Take, line_of, rank_message
from shard.host.schedule import UnitQueue
from shard.processes import cookie
from shard.records.job import Job
from shard.records.progress import AnyEvent, Note, RankExited, UnitDone, UnitFailed, UnitsKept, shorten
from shard.storage.disk import open_private

_ZERO = Counted(unit=-1, documents=0, tokens=0, text_bytes=0, retries=0)

# Batches come and go: memory given back to the kernel is cleared again page by page (glibc, which
# takes no more than 32 MiB here, and mimalloc in Arrow).
_KEEP_MEMORY = {
    # Or every thread that fetches keeps some of its own: 90 MB a rank.
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    "MIMALLOC_PURGE_DELAY": "1000",
}


class Crew:
    """Runs the ranks until nothing is left to do, and nothing more can come."""

    def __init__(self, job: Job, job_directory: Path, units: UnitQueue, emit: Callable[[AnyEvent], None]) -> None:
        self._job = job
        self._directory = job_directory
        self._units = units
        self._emit = emit
        self._changed = asyncio.Condition()
        self._before: Counter[str] = Counter()
        self._finished: Counter[int] = Counter()
        self.counted: dict[int, Counted] = {}
        self._noted: set[str] = set()
        self._stopping = False
        self._awaits_more = job.options.await_more
        self._running: dict[int, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self.fatal: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Set when no unit on this host can succeed."""

    async def run(self) -> None:
        """Return when no unit is pending or running and no more are awaited, or when no rank is left to run one."""
        self._start_ranks()
        while self._running or (self._awaits_more and not len(self._units) and not self._stopping):
            self._news.clear()
            news = asyncio.create_task(self._news.wait())
            await asyncio.wait({news, *self._running.values()}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            for rank, task in [*self._running.items()]:
                if task.done():
                    del self._running[rank]
                    task.result()

    async def wake(self) -> None:
        """Have ranks look at the units again, those that wait and those that had nothing to start for."""
        self._start_ranks()
        self._news.set()
        async with self._changed:
            self._changed.notify_all()

    async def expect_no_more(self) -> None:
        """What there is to do is all there will be."""
        self._awaits_more = False
        await self.wake()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something about the units is true."""
        async with self._changed:
            await self._changed.wait_for(condition)

    def _start_ranks(self) -> None:
        # More ranks than units would only start and end.
        for rank in range(self._job.first_rank, self._job.first_rank + min(self._job.ranks, len(self._units))):
            if rank not in self._running:
                self._running[rank] = asyncio.create_task(self._keep_running(rank))

    def stop(self) -> None:
        """From now on a rank that dies was meant to: it is not started again, and its units stay pending."""
        self._stopping = True
        self._news.set()

    def total(self, field: str) -> int:
        """A sum over all ranks, those that have crashed included."""
        return self._before[field] + sum(int(getattr(counted, field)) for counted in self.counted.values())

    async def _keep_running(self, rank: int) -> None:
        crashes = 0
        while True:
            finished = self._finished[rank]
            how = await self._run_once(rank)
            if self._stopping or (how is None and not self._units.running_on(rank)):
                return
            how = how or "ended before its unit did"
            self._remember(rank)
            for ordinal in self._units.running_on(rank):
                await self._unit_failed(rank, ordinal, f"rank {rank} {how}", retryable=True)
            # In a row: a rank that gets units done in between is worth its restarts.
            crashes = crashes + 1 if self._finished[rank] == finished else 1
            again = crashes <= self._job.options.rank_restarts and len(self._units) > 0
            self._emit(RankExited(host=self._job.host, rank=rank, how=how, restarted=again))
            if not again:
                return
            await asyncio.sleep(min(crashes, 10))
            if self._stopping:
                return

    async def _run_once(self, rank: int) -> str | None:
        """Run one rank process to its end. Returns None when it ended as told, else how it died."""
        try:
            process, ours = await self._start(rank)
        except OSError as error:
            return f"could not be started: {error}"
        reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
        answers: set[asyncio.Task[None]] = set()
        try:
            # A line without its end is the last word of a process that was killed while it spoke.
            while (line := await reader.readline()).endswith(b"\n"):
                await self._hear(rank, line, writer, answers)
        except ConnectionError:
            pass  # the process died in mid-sentence; its exit status says how
        finally:
            for task in answers:
                task.cancel()
            writer.close()
        code = await process.wait()
        if code == 0:
            return None
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"

    async def _start(self, rank: int) -> tuple[asyncio.subprocess.Process, socket.socket]:
        """A new rank process, and our end of its link. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                with open_private(self._directory / "log" / f"rank-{rank}.log") as log:
                    process = await asyncio.create_subprocess_exec(
                        *(sys.executable, "-m", "shard", "rank", "--job", str(self._directory), "--rank", str(rank)),
                        *("--link", str(theirs.fileno()), "--parent", str(os.getpid())),
                        stdin=asyncio.subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        pass_fds=(theirs.fileno(),),
                        start_new_session=True,
                        env=self._environment(),
                    )
            except BaseException:
                ours.close()
                raise
        return process, ours

    async def _hear(
        self, rank: int, line: bytes, writer: asyncio.StreamWriter, answers: set[asyncio.Task[None]]
    ) -> None:
        message = rank_message.decode(line)
        if isinstance(message, Ready):
            self._note(message.note)
            # A task of its own: while one rank waits for a unit, it still reports the commit of the last.
            task = asyncio.create_task(self._answer(rank, writer))
            answers.add(task)
            task.add_done_callback(answers.discard)
        elif isinstance(message, Counted):
            self.counted[rank] = message
        elif isinstance(message, Committed):
            await self._unit_done(rank, message)
        elif isinstance(message, Failed):
            if message.fatal:
                self._give_up(message.reason)
                return
            await self._unit_failed(rank, message.unit, message.reason, retryable=message.retryable)
        elif isinstance(message, Broken):
            self._give_up(message.reason)

    async def _answer(self, rank: int, writer: asyncio.StreamWriter) -> None:
        async with self._changed:
            # Whatever still runs elsewhere may fail and come back.
            while (unit := self._units.next_for(rank)) is None and (self._awaits_more or len(self._units) > 0):
                await self._changed.wait()
        then = None if unit is None else self._units.promise(rank)
        writer.write(line_of(Take(unit=unit, then=then)))
        await writer.drain()

    async def _unit_done(self, rank: int, message: Committed) -> None:
        self._units.done(message.unit)
        self._finished[rank] += 1
        self._note(message.note)
        if message.kept:
            self._emit(UnitsKept(host=self._job.host, units=[counts_of(message.train, message.holdout)]))
            await self.wake()
            return
        source = message.train.source
        self._emit(
            UnitDone(
                host=self._job.host,
                unit=message.unit,
                rank=rank,
                row_start=source.row_start,
                row_end=source.row_end,
                file_rows=source.file_rows,
                documents=message.train.documents,
                holdout_documents=message.holdout.documents,
                tokens=message.train.tokens,
                holdout_tokens=message.holdout.tokens,
                dropped=sum(message.train.dropped.values()),
                text_bytes=message.text_bytes,
                seconds=message.train.seconds,
                lines=source.lines,
            )
        )
        await self.wake()

    async def _unit_failed(self, rank: int, ordinal: int, reason: str, *, retryable: bool) -> None:
        attempt, last = self._units.failed(ordinal, retryable=retryable)
        self._emit(
            UnitFailed(host=self._job.host, unit=ordinal, rank=rank, attempt=attempt, quarantined=last, reason=reason)
        )
        await self.wake()

    def _note(self, text: str) -> None:
        """Tell the user, once, however many ranks say so."""
        if text and text not in self._noted:
            self._noted.add(text)
            self._emit(Note(host=self._job.host, text=shorten(text)))

    def _give_up(self, reason: str) -> None:
        if not self.fatal.done():
            self.fatal.set_result(reason)

    def _remember(self, rank: int) -> None:
        counted = self.counted.pop(rank, _ZERO)
        for field in ("documents", "tokens", "text_bytes", "retries"):
            self._before[field] += getattr(counted, field)

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        # Read from the file instead: an environment can be read by others.
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            environment.pop(name, None)
        environment |= cookie(self._job.run_id, self._job.host)
        environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONUNBUFFERED": "1"}
        # Over Xet a stalled download is not noticed; over plain HTTP it is, after this.
        stall = str(max(1, round(self._job.options.stall_seconds)))
        environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DOWNLOAD_TIMEOUT": stall}
        environment |= _KEEP_MEMORY
        if (token := self._directory / "token").exists():
            environment["HF_TOKEN_PATH"] = str(token)
        if self._job.dataset.endpoint is not None:
            environment["HF_ENDPOINT"] = self._job.dataset.endpoint
        return environment
