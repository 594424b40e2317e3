"""What hosts say of the signatures beside their shards: who lacks some, keys of all, signatures of some."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from provision.errors import ProvisionError, RemoteError
from provision.plan.plan import HostPlan, Plan
from provision.plan.rundir import RunDirectory
from provision.reach.channel import Channel
from provision.reach.fleet import on_all
from provision.reach.remote import ask_shard, job_argument
from shard.dedup.gathered import Some, UnitKeys
from shard.dedup.parts import Take
from shard.dedup.questions import KeysQuestion, SignaturesQuestion, keys_size
from shard.records.dedup import Scheme, Settings
from shard.storage.disk import write_atomic

_TIMEOUT_SECONDS = 600.0
_ANSWER_BYTES = 32 << 20
"""Of one answer, about: a worker that starts for it should have something to do, and a few are in memory here."""
_WORKERS = 8
"""Hosts at once."""

T = TypeVar("T")
R = TypeVar("R")


class Hosts:
    """The hosts of a finished run."""

    def __init__(self, run: RunDirectory, plan: Plan, *, answer_bytes: int = _ANSWER_BYTES) -> None:
        self._answer_bytes = answer_bytes
        self._run = run
        self._plan = plan
        self._by_name = {host.name: host for host in plan.hosts}

    def unsigned(self, names: Iterable[str], scheme: Scheme) -> dict[str, list[int]]:
        """Units that each of these hosts has without signatures by this scheme. Raises RemoteError."""
        question = msgspec.json.encode(scheme)

        def ask(channel: Channel, host: HostPlan) -> list[int]:
            said = self._ask(channel, host, "unsigned", question)
            try:
                return msgspec.json.decode(said, type=list[int])
            except msgspec.DecodeError as error:
                raise RemoteError(f"{host.name}: its answer cannot be read: {error}") from error

        return self._on(names, ask)

    def bring_keys(
        self, homes: Mapping[str, Sequence[UnitKeys]], settings: Settings, progress: Callable[[int], None]
    ) -> None:
        """Have the keys of all units in their files; those that are there are not fetched again. `homes` says which
        host has which; `progress` is told of units. Raises RemoteError, DiskFullError."""
        missing: dict[str, list[UnitKeys]] = {}
        for name, units in homes.items():
            missing[name] = [unit for unit in units if not unit.is_here(settings)]
            progress(len(units) - len(missing[name]))

        def size(unit: UnitKeys) -> int:
            return keys_size(settings, sum(unit.documents.values()))

        def bring(channel: Channel, host: HostPlan) -> None:
            for units in _batches(missing[host.name], size, self._answer_bytes):
                question = KeysQuestion(settings=settings, units=[unit.unit for unit in units])
                answer = self._ask(channel, host, "keys", msgspec.json.encode(question))
                parts = _split(host, answer, [size(unit) for unit in units])
                for unit, data in zip(units, parts, strict=True):
                    write_atomic(unit.path, data)
                progress(len(units))

        self._on([name for name, units in missing.items() if units], bring)

    def fetch_signatures(
        self, homes: Mapping[int, str], scheme: Scheme, wanted: Mapping[int, Some], take: Take
    ) -> None:
        """See FetchUnits; `homes` says which host has which unit. Raises RemoteError."""
        by_host: dict[str, list[int]] = {}
        sizes = {number: 4 * scheme.num_perm * some.count for number, some in wanted.items()}
        for number, some in wanted.items():
            by_host.setdefault(homes[some.unit], []).append(number)

        def fetch(channel: Channel, host: HostPlan) -> None:
            for numbers in _batches(by_host[host.name], sizes.__getitem__, self._answer_bytes):
                question = SignaturesQuestion(scheme=scheme, wanted=[wanted[number].wanted() for number in numbers])
                answer = self._ask(channel, host, "signatures", msgspec.json.encode(question))
                parts = _split(host, answer, [sizes[number] for number in numbers])
                for number, data in zip(numbers, parts, strict=True):
                    take(number, data)

        self._on(by_host, fetch)

    def _ask(self, channel: Channel, host: HostPlan, verb: str, question: bytes) -> bytes:
        job = job_argument(self._plan, host)
        return ask_shard(channel, self._plan, host, verb, *job, timeout=_TIMEOUT_SECONDS, stdin=question, marked=True)

    def _on(self, names: Iterable[str], deed: Callable[[Channel, HostPlan], R]) -> dict[str, R]:
        """What came of it on each host. Raises RemoteError, naming all that failed."""
        hosts = [self._by_name[name].host for name in names]
        if not hosts:
            return {}

        def act(channel: Channel) -> R:
            return deed(channel, self._by_name[channel.host.name])

        outcomes = on_all(hosts, self._run.ssh_config, act, workers=_WORKERS)
        failed = [str(outcome) for outcome in outcomes.values() if isinstance(outcome, ProvisionError)]
        if failed:
            raise RemoteError("\n".join(["what hosts have cannot be compared:", *(f"  {line}" for line in failed)]))
        return {host.name: outcome for host, outcome in outcomes.items() if not isinstance(outcome, ProvisionError)}


def _batches(items: Sequence[T], size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Neighbours that come to so many bytes at most together, or one that has more."""
    batch: list[T] = []
    total = 0
    for item in items:
        if batch and total + size(item) > most:
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size(item)
    if batch:
        yield batch


def _split(host: HostPlan, answer: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """The parts of an answer. Raises RemoteError when it is not as long as they are together."""
    if len(answer) != sum(sizes):
        raise RemoteError(
            f"{host.name}: {len(answer)} bytes came of {sum(sizes)}; repeat this when nobody is at work there"
        )
    first = 0
    for size in sizes:
        yield answer[first : first + size]
        first += size
