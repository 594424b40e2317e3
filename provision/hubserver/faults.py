"""Switches for tests: what the server does wrong, how often, and the counts of what it was asked.

Reachable only when the server was made with faults; see `create_app`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

KINDS = ("status", "cut", "stall", "corrupt", "truncate", "etag", "expire")
PLACES = ("api", "resolve", "cdn")


@dataclass(frozen=True)
class Fault:
    """One thing to do wrong."""

    kind: str
    """status: answer with `status`. cut: close after `after` bytes of the body. stall: send `after` bytes, then
    nothing for `seconds`, then the rest. corrupt: flip `length` bytes at `offset` of the file. truncate: serve and
    claim a file `length` bytes shorter. etag: another ETag. expire: every location handed out so far becomes 403."""
    where: str = "cdn"
    """Which requests: api, resolve or cdn."""
    path: str | None = None
    """Glob on `owner/name/path/in/repo` (`owner/name` for api); None matches all. `*` matches slashes too."""
    times: int | None = 1
    """How many requests it strikes; None: every one."""
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to a status answer, such as RateLimit."""
    after: int = 0
    """Bytes of the body."""
    seconds: float = 60.0
    offset: int = 0
    """Byte of the file."""
    length: int = 1
    """Bytes."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}: use one of {', '.join(KINDS)}")
        if self.where not in PLACES:
            raise ValueError(f"where is {self.where!r}: use one of {', '.join(PLACES)}")
        if not 400 <= self.status <= 599:
            raise ValueError(f"status is {self.status}: use 400 to 599")
        if min(self.after, self.offset) < 0 or self.length < 1 or (self.times is not None and self.times < 1):
            raise ValueError("after and offset must be at least 0, length and times at least 1")

    def strikes(self, where: str, subject: str, start: int, stop: int) -> bool:
        """Whether it concerns a request for bytes start (inclusive) to stop (exclusive) of a file."""
        if self.where != where or not (self.path is None or fnmatchcase(subject, self.path)):
            return False
        # A fault that would change nothing in this answer waits for one where it does.
        if self.kind == "corrupt":
            return self.offset < stop and start < self.offset + self.length
        return self.kind not in ("cut", "stall") or self.after < stop - start


class FaultList:
    """Armed faults. The first one that matches a request is used, and counted down."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []

    def arm(self, faults: Iterable[Fault]) -> None:
        """Add faults behind those already armed."""
        self._armed.extend(faults)

    def clear(self) -> None:
        """Disarm all."""
        self._armed.clear()

    def left(self) -> int:
        """How many faults are still armed."""
        return len(self._armed)

    def take_status(self, where: str, subject: str) -> Fault | None:
        """The status fault for a request that just arrived."""
        return self._take(lambda fault: fault.kind == "status" and fault.strikes(where, subject, 0, 0))

    def take_body(self, where: str, subject: str, start: int, stop: int) -> Fault | None:
        """The fault in the answer of a GET for bytes start (inclusive) to stop (exclusive) of a file."""
        return self._take(lambda fault: fault.kind != "status" and fault.strikes(where, subject, start, stop))

    def _take(self, matches: Callable[[Fault], bool]) -> Fault | None:
        for index, fault in enumerate(self._armed):
            if matches(fault):
                if fault.times == 1:
                    del self._armed[index]
                elif fault.times is not None:
                    self._armed[index] = replace(fault, times=fault.times - 1)
                return fault
        return None


class Stats:
    """Counts of requests by kind and path, and of the bytes the CDN sent."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._paths: dict[str, Counter[str]] = defaultdict(Counter)
        self._cdn_bytes = 0

    def request(self, where: str, subject: str) -> None:
        """Count a request, answered well or not."""
        self._requests[where] += 1
        self._paths[subject][where] += 1

    def sent(self, where: str, subject: str, size: int) -> None:
        """Count bytes of a body."""
        if where == "cdn":
            self._cdn_bytes += size
            self._paths[subject]["cdn_bytes"] += size

    def as_json(self) -> dict[str, Any]:
        """api, resolve, cdn: requests. cdn_bytes. paths: the same by `owner/name[/path]`."""
        keys = (*PLACES, "cdn_bytes")
        totals = {**{place: self._requests[place] for place in PLACES}, "cdn_bytes": self._cdn_bytes}
        return {**totals, "paths": {path: {key: count[key] for key in keys} for path, count in self._paths.items()}}
