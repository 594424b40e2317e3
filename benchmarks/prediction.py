"""How long a cluster takes for a dataset, how much disk, and what it waits for (pure)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.datasets import Dataset


@dataclass(frozen=True)
class Host:
    """One machine of a cluster of equal ones."""

    cores: int
    ranks: int
    link_bits: float
    """Per second, of its own."""
    disk_write_bytes: float
    """Per second, sustained."""


@dataclass(frozen=True)
class Costs:
    """What was measured, on one core with nothing else at work."""

    decode: float = 1.77e-9
    """Core-seconds per byte of text: reading and decompressing Parquet, checking UTF-8, offsets."""
    encode: float = 1.60e-9
    """Core-seconds per byte of text: tokens, and the reference's sample."""
    rest: float = 0.71e-9
    """Core-seconds per byte of text: holdout, end-of-document tokens, dtype, sha256, writing, committing."""
    fetch: float = 1.37e-9
    """Core-seconds per byte fetched over the network, beside all that."""
    further_core: float = 0.73
    """What a further busy core of a machine adds, of the first: cores share memory, caches and clock."""
    start_seconds: float = 0.49
    """Of supervisor and rank, until the first row group."""
    output_bytes_per_token: int = 2
    index_bytes_per_document: int = 20
    holdout_rate: float = 0.001
    link_share: float = 0.92
    """Payload of a link: headers of Ethernet, IP and TCP take 0.06, what our requests miss 0.02."""
    launcher_events: float = 120e-6
    """Core-seconds of the launcher per event: one a unit, one a host every two seconds."""

    @property
    def per_text_byte(self) -> float:
        return self.decode + self.encode + self.rest


@dataclass(frozen=True)
class Site:
    """What hosts share."""

    uplink_bits: float = math.inf
    """Per second, of all hosts together, to where the dataset lies."""
    resolves_per_second: float = 3000 / 300
    """That the Hub allows: 3,000 in five minutes from one address without a token, 5,000 with a free account's
    (huggingface.co/docs/hub/rate-limits)."""
    unit_bytes: float = 256 * 2**20


@dataclass(frozen=True)
class Prediction:
    """A cluster and a dataset."""

    seconds: Mapping[str, float]
    """That each resource alone would take; they work at the same time."""
    start_seconds: float
    train_bytes: float
    """Per host: payload and index."""
    holdout_bytes: float
    fetched_bytes: float
    """Per host."""
    launcher_share: float
    """Of one core."""

    @property
    def bottleneck(self) -> str:
        return max(self.seconds, key=lambda name: self.seconds[name])

    @property
    def total_seconds(self) -> float:
        return self.seconds[self.bottleneck] + self.start_seconds


def text_rate(host: Host, costs: Costs, *, remote: bool, column_share: float) -> float:
    """Bytes of text per second that a host's ranks can work through.

    Within a rank the stages run beside each other: it is never faster than its slowest stage, and never takes more
    than its part of the cores.
    """
    fetch = costs.fetch * column_share if remote else 0.0
    one_core = 1 / (costs.per_text_byte + fetch)
    busy = min(host.cores, host.ranks * _cores_of_a_rank(costs, fetch))
    return one_core * (1 + (busy - 1) * costs.further_core if busy > 1 else busy)


def _cores_of_a_rank(costs: Costs, fetch: float) -> float:
    """Cores that a rank keeps busy when it has as many as it likes."""
    return (costs.per_text_byte + fetch) / max(costs.decode, costs.encode, costs.rest, fetch)


def predict(
    dataset: Dataset,
    host: Host,
    hosts: int,
    costs: Costs | None = None,
    site: Site | None = None,
    *,
    remote: bool = True,
) -> Prediction:
    """A run over all of a dataset. Not `remote`: its files lie on a disk of the host that is fast enough."""
    costs, site = costs or Costs(), site or Site()
    share = 1 / hosts
    # An end-of-document token per document.
    output = (dataset.tokens + dataset.documents) * costs.output_bytes_per_token
    output += dataset.documents * costs.index_bytes_per_document
    units = max(dataset.files, dataset.parquet_bytes / site.unit_bytes)
    seconds = {
        "cores": dataset.text_bytes
        * share
        / text_rate(host, costs, remote=remote, column_share=dataset.column_bytes / dataset.text_bytes),
        "disk": output * share / host.disk_write_bytes,
    }
    if remote:
        seconds["link"] = dataset.column_bytes * share * 8 / (host.link_bits * costs.link_share)
        seconds["uplink"] = dataset.column_bytes * 8 / (site.uplink_bits * costs.link_share)
        seconds["Hub resolves"] = dataset.files / site.resolves_per_second
    longest = max(seconds.values())
    launcher = hosts / 2 * costs.launcher_events + units * costs.launcher_events / longest
    return Prediction(
        seconds={**seconds, "launcher": launcher * longest},
        start_seconds=costs.start_seconds,
        train_bytes=output * share * (1 - costs.holdout_rate),
        holdout_bytes=output * share * costs.holdout_rate,
        fetched_bytes=dataset.column_bytes * share if remote else 0.0,
        launcher_share=launcher,
    )
