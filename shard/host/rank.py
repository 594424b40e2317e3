"""One rank: pull a unit, write its shards, commit while the next unit is under way, report.

A rank needs no way to stop: what it has not committed is under temporary names, so SIGTERM and SIGKILL are equal to it.
"""

import gc
import logging
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import stamina.instrumentation

from shard.dedup.remaining import write_remaining
from shard.errors import DiskFullError, JobError, ShardError
from shard.host.ranklink import Broken, Committed, Counted, Failed, RankEnd
from shard.pipeline import Counters, Workplace, Written, write_unit
from shard.processes import die_with_parent
from shard.records.frozen import read_record
from shard.records.job import Job
from shard.records.progress import shorten
from shard.records.shards import ShardRecord
from shard.records.trainers import SIGNATURES
from shard.records.unit import Unit
from shard.signatures.signing import sign_shard
from shard.signatures.text import TokenBytes, token_bytes_of
from shard.source.bandwidth import FILE, SharedRate
from shard.source.download import Scratch
from shard.source.intake import Intake
from shard.storage.rankfile import read_codec
from shard.storage.sidecars import complete_unit
from shard.storage.store import directories_of, scratch_of
from shard.storage.stored import StoredShard
from shard.tokenizer.load import load_tokenizer

log = logging.getLogger(__name__)


def run_rank(job_directory: Path, rank: int, descriptor: int, parent: int) -> int:
    """Work until the supervisor has no more units. Returns the exit code."""
    die_with_parent(parent)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # one line a request would be all there is
    pa.set_cpu_count(1)
    link = RankEnd(descriptor)
    try:
        job = read_record(job_directory / "job.json", Job)
        place = _workplace(job, job_directory, rank)
    except ShardError as error:
        log.exception("cannot start")
        link.send(Broken(reason=shorten(str(error))))
        return error.exit_code
    gc.freeze()  # what is loaded now stays: no collection need look at it again
    code = 1
    try:
        _Rank(link, place, job_directory).run()
        code = 0
    except BaseException:
        log.exception("rank %d cannot go on", rank)
    finally:
        # Threads may still sleep between retries of a fetch nobody wants any more: do not wait for them.
        logging.shutdown()
        os._exit(code)


def _workplace(job: Job, job_directory: Path, rank: int) -> Workplace:
    directories = directories_of(job)
    return Workplace(
        job=job,
        rank=rank,
        tokenizer=load_tokenizer(job.tokenizer, job_directory / "tokenizer"),
        directories=directories,
        locations=_known_locations(job_directory / "locations.json"),
        scratch=Scratch(scratch_of(job, directories) / str(rank)),
        counters=Counters(),
        intake=_intake(job, job_directory),
        codec=read_codec(job_directory, job.identity),
    )


def _intake(job: Job, job_directory: Path) -> Intake:
    limit = job.options.max_bandwidth
    return Intake(job.options) if limit is None else Intake(job.options, SharedRate(job_directory / FILE, limit).take)


def _known_locations(path: Path) -> dict[str, str]:
    # A file of its own, not a field of the job: signed addresses are secrets for as long as they are good.
    try:
        return read_record(path, dict[str, str])
    except JobError:
        return {}  # not sent, or removed at the end of an earlier start: a resolve more


def _copied(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    return "the file system knows no hard links: payloads are copied for --for, and take their space again"


def _require_own(job: Job, unit: Unit) -> None:
    """Raise JobError for a unit of another run, which cannot be made from what this one reads."""
    if unit.ordinal < job.identity.first_unit:
        raise JobError(
            f"unit {unit.ordinal} was there before this run appended to it, and is not whole any more; "
            f"'shardfleet verify {job.run_id}' says what is wrong with it"
        )


class _Rank:
    def __init__(self, link: RankEnd, place: Workplace, job_directory: Path) -> None:
        self._link = link
        self._place = place
        self._removal = place.job.removal
        self._job_directory = job_directory
        self._unit = -1
        self._retries = 0
        self._table: TokenBytes | None = None

    def run(self) -> None:
        stamina.instrumentation.set_on_retry_hooks([self._on_retry])
        threading.Thread(target=self._report, name="report", daemon=True).start()
        tokenizer = self._place.tokenizer
        note = f"{tokenizer.spec.name}: slow engine, {tokenizer.slow_because}" if tokenizer.slow_because else ""
        committing: Future[None] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="commit") as committer:
            while (unit := (taken := self._link.take(note=note)).unit) is not None:
                note = ""
                self._unit = unit.ordinal
                if self._complete(unit):
                    continue
                written = self._write(unit, taken.then)
                if committing is not None:
                    committing.result()
                committing = committer.submit(self._commit, written) if written is not None else None
            self._unit = -1
        if committing is not None:
            committing.result()
        self._place.scratch.clear()
        self._count()

    def _complete(self, unit: Unit) -> bool:
        """Make the sidecars that a committed unit lacks. Returns False for one whose tokens are to be written."""
        try:
            completed = complete_unit(self._place.job, self._place.directories, unit, self._sign)
        except Exception as error:  # noqa: BLE001  as below
            self._failed(unit, error)
            return True
        if completed is None:
            return False
        log.info("unit %d is committed: its sidecars are whole now", unit.ordinal)
        self._link.send(
            Committed(
                unit=unit.ordinal,
                train=completed.records["train"],
                holdout=completed.records["holdout"],
                text_bytes=0,
                kept=True,
                note=_copied(completed.copied),
            )
        )
        return True

    def _sign(self, directory: Path, stem: str, record: ShardRecord) -> str:
        job = self._place.job
        if job.options.signatures is None:
            raise AssertionError(f"{stem}: nobody asks for signatures")
        spec = job.tokenizer
        if self._table is None:
            self._table = token_bytes_of(self._place.tokenizer.reference, spec.vocab_size, spec.frame)
        shard = StoredShard(directory, stem, record, spec.dtype, self._place.codec)
        return sign_shard(shard, self._table, job.options.signatures, directory / f"{stem}.{SIGNATURES}")

    def _write(self, unit: Unit, then: Unit | None) -> Written | None:
        log.info("unit %d: %s part %d of %d", unit.ordinal, unit.path, unit.part + 1, unit.parts)
        try:
            if self._removal is not None:
                return write_remaining(self._place, self._removal, self._job_directory / self._removal.lists_file, unit)
            _require_own(self._place.job, unit)
            return write_unit(self._place, unit, then)
        except Exception as error:  # noqa: BLE001  logged with its traceback, reported, and counted against the unit
            self._failed(unit, error)
            return None

    def _commit(self, written: Written) -> None:
        try:
            records = written.commit()
        except Exception as error:  # noqa: BLE001  as above
            self._failed(written.unit, error)
            return
        self._count()
        self._link.send(
            Committed(
                unit=written.unit.ordinal,
                train=records["train"],
                holdout=records["holdout"],
                text_bytes=written.text_bytes,
                note=_copied(written.copied),
            )
        )

    def _failed(self, unit: Unit, error: Exception) -> None:
        log.error("unit %d failed", unit.ordinal, exc_info=error)
        reason = str(error) if isinstance(error, ShardError) else f"{type(error).__name__}: {error}"
        self._link.send(
            Failed(
                unit=unit.ordinal,
                reason=shorten(reason),
                # An error nobody foresaw may be the machine's: worth another try.
                retryable=error.retryable if isinstance(error, ShardError) else True,
                fatal=isinstance(error, DiskFullError),
            )
        )

    def _on_retry(self, details: stamina.instrumentation.RetryDetails) -> None:
        self._retries += 1
        log.warning("attempt %d after %.1f s: %s", details.retry_num + 1, details.wait_for, details.caused_by)

    def _report(self) -> None:
        while not threading.Event().wait(self._place.job.options.progress_seconds / 2):
            self._count()

    def _count(self) -> None:
        counters = self._place.counters
        self._link.send(
            Counted(
                unit=self._unit,
                documents=counters.documents,
                tokens=counters.tokens,
                text_bytes=counters.text_bytes,
                retries=self._retries,
            )
        )
