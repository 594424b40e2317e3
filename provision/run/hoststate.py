"""What is known of one host of a run, and sums over units."""

from collections import deque
from dataclasses import dataclass, field

from shard.records.progress import Progress, UnitCounts


@dataclass
class HostState:
    """One host, as far as it has spoken."""

    name: str
    ranks: int
    phase: str = "waiting"
    todo: set[int] = field(default_factory=set)
    """Units of its share that are neither committed nor quarantined."""
    done: set[int] = field(default_factory=set)
    """Units that it has committed, those of earlier starts included."""
    gone: set[int] = field(default_factory=set)
    """Units that were of its share, until they were given to others."""
    units_failed: int = 0
    requests: int = 0
    """Changes of its share that it is known to have taken in since it started."""
    idle_after: int = -1
    """How many of them it knew of when it last said that it had nothing left."""
    place: str = ""
    progress: Progress | None = None
    started: float | None = None
    last_heard: float | None = None
    errors: int = 0
    reason: str = ""
    hung_up: bool = False
    """Whether what connects it to the launcher has ended."""
    unreachable: bool = False
    """Whether it could not be connected to since it was last heard."""
    window: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=64))
    """(time, text bytes, tokens) of recent progress events."""
    usual: float = 0.0
    """Text bytes per second when it last had work."""

    @property
    def units(self) -> int:
        """Of its share."""
        return len(self.todo) + len(self.done) + self.units_failed

    @property
    def units_done(self) -> int:
        return len(self.done)

    @property
    def ended(self) -> bool:
        return self.phase in {"complete", "incomplete", "stopped", "failed", "lost", "absent"}

    @property
    def settled(self) -> bool:
        """Whether it does nothing any more, unless it is given more."""
        return self.ended or self.phase == "idle"

    def silent_for(self, now: float) -> float:
        """Seconds since it was heard."""
        return now - self.last_heard if self.last_heard is not None else 0.0

    def rate(self) -> tuple[float, float]:
        """(text bytes, tokens) per second over the last half minute."""
        if len(self.window) < 2 or self.settled:
            return 0.0, 0.0
        (t0, bytes0, tokens0), (t1, bytes1, tokens1) = self.window[0], self.window[-1]
        seconds = max(t1 - t0, 1e-3)
        return (bytes1 - bytes0) / seconds, (tokens1 - tokens0) / seconds


@dataclass
class Totals:
    """Sums over committed units, those of earlier runs included."""

    documents: int = 0
    """In train."""
    holdout_documents: int = 0
    tokens: int = 0
    """In train."""
    holdout_tokens: int = 0
    dropped: int = 0

    def add(self, counts: UnitCounts) -> None:
        self.documents += counts.documents
        self.holdout_documents += counts.holdout_documents
        self.tokens += counts.tokens
        self.holdout_tokens += counts.holdout_tokens
        self.dropped += counts.dropped
