"""What was measured of one contender, and what follows from it."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.contenders import Contender, Task
from benchmarks.counts import Count, said
from benchmarks.measure import Usage


@dataclass
class Measured:
    """All runs of one contender, by round: a round in which it failed is missing."""

    contender: Contender
    text_bytes: int
    full: Task
    empty: Task
    truth: Count | None
    """What its output is to hold; None where that is not known."""
    runs: dict[int, Usage] = field(default_factory=dict)
    startups: dict[int, Usage] = field(default_factory=dict)
    counts: dict[int, Count] = field(default_factory=dict)
    output_bytes: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def startup_seconds(self) -> float:
        return statistics.median(usage.seconds for usage in self.startups.values())

    @property
    def rates(self) -> dict[int, float]:
        """Text bytes per second of every run, without the time that the same takes over nothing."""
        return self._rates(lambda usage: usage.seconds)

    @property
    def cpu_rates(self) -> dict[int, float]:
        """The same by processor time: what others do on the machine, and waiting, do not count."""
        return self._rates(lambda usage: usage.cpu_seconds)

    @property
    def whole_rates(self) -> dict[int, float]:
        """Text bytes per second of every run, from the first process's start to the last one's end."""
        return {number: self.text_bytes / usage.seconds for number, usage in self.runs.items()}

    @property
    def peak_bytes(self) -> int:
        return max(usage.peak_bytes for usage in self.runs.values())

    @property
    def tree_bytes(self) -> int:
        return max(usage.tree_bytes for usage in self.runs.values())

    @property
    def tokens(self) -> int:
        """Of its latest output, end-of-document tokens included; 0 for what writes none."""
        if not self.counts:
            return 0
        latest = self.counts[max(self.counts)]
        return latest.tokens + latest.documents

    @property
    def exactness(self) -> str:
        """Of all runs: `exact`, or what was lost in each that was not, and how often it failed."""
        if self.truth is None:
            return ""
        differences = [said(count, self.truth) for count in self.counts.values()]
        wrong = [difference for difference in differences if difference != "exact"]
        parts = [f"{len(wrong)} of {len(differences)} runs not exact: {'; '.join(wrong)}"] if wrong else []
        if differences and not wrong:
            parts.append("exact")
        return "; ".join(parts + self.failures)

    def as_dict(self) -> dict[str, Any]:
        return {
            "what": self.contender.what,
            "kind": self.contender.kind,
            "text_bytes": self.text_bytes,
            "tokens": self.tokens,
            "output_bytes": self.output_bytes,
            "exactness": self.exactness,
            "failures": self.failures,
            "rates": self.rates,
            "whole_rates": self.whole_rates,
            "runs": {number: asdict(usage) for number, usage in self.runs.items()},
            "startups": {number: asdict(usage) for number, usage in self.startups.items()},
            "counts": {number: count.as_dict() for number, count in self.counts.items()},
        }

    def _rates(self, taken: Callable[[Usage], float]) -> dict[int, float]:
        if not self.startups:
            return {}
        startup = statistics.median(taken(usage) for usage in self.startups.values())
        # A run no longer than the start-up was disturbed, or there was too little to do: it says nothing.
        return {
            number: self.text_bytes / (taken(usage) - startup)
            for number, usage in self.runs.items()
            if taken(usage) > startup
        }


def ratios(above: Mapping[int, float], below: Mapping[int, float]) -> list[float]:
    """One ratio for every round in which both were measured."""
    return [above[number] / below[number] for number in above if number in below]
