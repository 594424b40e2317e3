"""How a run works, and nothing that may change an output byte."""

from typing import Literal

from shard.records.dedup import Scheme
from shard.records.frozen import Record, require
from shard.records.trainers import Trainer

MIN_BANDWIDTH = 10_000
"""Bytes a second. A smaller limit is a unit that was left out: at this one a gigabyte takes a day."""

_LONGEST_SECONDS = 1e8
"""Three years: beyond it lie numbers that clocks and sockets refuse."""


class Options(Record, frozen=True, kw_only=True):
    """See above."""

    fetch: Literal["stream", "download"] = "stream"
    attempts: int = 3
    """Tries of one unit before it is quarantined."""
    retry_seconds: float = 900.0
    """How long one request to the Hub is retried before the attempt counts as failed."""
    stall_seconds: float = 30.0
    """A connection that brings no byte for so long is given up and tried again."""
    spans_in_flight: int = 16
    """Range requests under way at once, per rank, at most; as many are used as bring something."""
    max_bandwidth: int | None = None
    """Bytes a second that a host takes in at most, all its ranks together; None for no limit."""
    grace_seconds: float = 5.0
    """Between SIGTERM and SIGKILL when stopping."""
    on_disconnect: Literal["stop", "continue"] = "stop"
    """What a host does when the launcher or the way to it is gone."""
    lease_seconds: float | None = None
    """A host that has not heard from the launcher for so long takes it for gone; None never."""
    await_more: bool = False
    """Whether a host that has nothing left waits for units that others cannot do, until the launcher hangs up."""
    trainers: tuple[Trainer, ...] = ()
    """Trainers that find their names and sidecars beside each payload, which is the same for all."""
    signatures: Scheme | None = None
    """By which every document gets a key and a signature, beside the shards; None for none."""
    progress_seconds: float = 2.0
    rank_restarts: int = 5
    """How often in a row a rank process that crashes is started again."""

    def __post_init__(self) -> None:
        require(self.attempts >= 1, f"attempts {self.attempts} is less than 1")
        require(1 <= self.spans_in_flight <= 1024, f"spans_in_flight {self.spans_in_flight} is not from 1 to 1024")
        limit = self.max_bandwidth
        require(limit is None or limit >= MIN_BANDWIDTH, f"max_bandwidth {limit} is less than {MIN_BANDWIDTH} bytes/s")
        require(
            limit is None or self.fetch == "stream",
            "max_bandwidth with fetch 'download': whole files are not downloaded at a limited rate; stream them",
        )
        require(self.rank_restarts >= 0, f"rank_restarts {self.rank_restarts} is negative")
        for field in ("retry_seconds", "stall_seconds", "progress_seconds", "lease_seconds", "grace_seconds"):
            seconds = getattr(self, field)
            require(seconds is None or seconds >= 0, f"{field} {seconds} is negative")
            require(seconds != 0 or field == "grace_seconds", f"{field} {seconds} is not positive")
            require(seconds is None or seconds <= _LONGEST_SECONDS, f"{field} {seconds} is over three years")
