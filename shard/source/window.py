"""How many range requests are worth having under way, and how large each should be (no I/O).

More are tried while they bring more: on a line that one connection fills they would only wait for each other; on a long
or a lossy one every connection has a rate of its own, and they add up.
"""

import math

START_REQUESTS = 8
SPAN_SECONDS = 0.5
"""What one request should take: a round trip, which it begins with, is little of that anywhere on Earth."""
LEAST_SPAN_BYTES = 1 << 20
MOST_SPAN_BYTES = 8 << 20

_INTERVAL_SECONDS = 1.0
_WORTH_IT = 1.1
"""Growth of the rate that half as many requests more must bring to be kept."""
_HOLD_SECONDS = 30.0
"""How long a number that was found best is kept until more are tried again: lines change."""


class Window:
    """The number of requests follows the rate at which bytes arrive while no request could be added."""

    def __init__(self, most: int, *, now: float) -> None:
        self.requests = min(START_REQUESTS, most)
        """That may be under way at once."""
        self.span_bytes = MOST_SPAN_BYTES // 2
        self._most = most
        self._since = now
        self._bytes = 0
        self._arrivals = 0
        self._before: tuple[int, float] | None = None
        """Requests and rate before the last growth."""
        self._hold_until = 0.0

    def arrived(self, size: int, now: float) -> None:
        """A request is done."""
        self._bytes += size
        self._arrivals += 1
        if now - self._since >= _INTERVAL_SECONDS and self._arrivals >= self.requests:
            self._judge(self._bytes / (now - self._since), now)
            self.interrupted(now)

    def interrupted(self, now: float) -> None:
        """It was not for want of requests that no more bytes came: what was measured says nothing."""
        self._since, self._bytes, self._arrivals = now, 0, 0

    def _judge(self, rate: float, now: float) -> None:
        helped = self._before is None or rate >= self._before[1] * _WORTH_IT
        if now < self._hold_until:
            pass
        elif helped and self.requests < self._most:
            self._before = (self.requests, rate)
            self.requests = min(self._most, math.ceil(self.requests * 1.5))
        elif self._before is not None:
            self.requests = self.requests if helped else self._before[0]
            self._before = None
            self._hold_until = now + _HOLD_SECONDS
        self.span_bytes = min(MOST_SPAN_BYTES, max(LEAST_SPAN_BYTES, int(rate / self.requests * SPAN_SECONDS)))
