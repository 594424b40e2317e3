"""Exports on many hosts at once: each writes its own shards in the format of a trainer."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from provision.errors import NotProvenStoppedError, ProvisionError, RemoteError
from provision.finish.gather import Gathered
from provision.hosts import Host
from provision.plan.plan import ExportWanted, Plan
from provision.plan.rundir import RunDirectory
from provision.reach.channel import Channel
from provision.reach.fleet import on_all
from provision.reach.remote import ask_worker
from shard.host.exporting import Exporting
from shard.records.frozen import canonical_json

_TIMEOUT_SECONDS = 7 * 24 * 3600.0
_STOP_SECONDS = 60.0
_LOOK_SECONDS = 20.0
"""Between two looks at how far hosts are: each takes a connection to each of them."""


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What a host answers."""

    documents: int
    tokens: int
    left_out: int
    disk_bytes: int
    linked_bytes: int
    there: bool
    note: str | None
    """What whoever trains on it must know."""

    def said(self, wanted: ExportWanted) -> str:
        """In words."""
        if self.there:
            return f"{wanted.to} is there already: {self.documents:,} documents of these shards as {wanted.format}"
        left = f", {self.left_out:,} tokens left out" if self.left_out else ""
        return (
            f"{self.documents:,} documents, {self.tokens - self.left_out:,} tokens as {wanted.format} in {wanted.to}"
            f"{left}; {self.disk_bytes:,} bytes of its own, {self.linked_bytes:,} shared with the shards"
            f"{f'; note: {self.note}' if self.note else ''}"
        )


@dataclass(frozen=True, slots=True)
class HostShards:
    """One host and what is to be exported there."""

    host: Host
    python: str
    directories: tuple[str, ...]


class Exports:
    """One export on many hosts, and how it is stopped."""

    def __init__(
        self,
        shares: Sequence[HostShards],
        config: Path,
        wanted: ExportWanted,
        tell: Callable[[str], None],
        mark: str,
        *,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        """`tell` is called with a line when a host is done, and with how far others are every `look_seconds`; `mark` is
        the run whose processes the exports count as."""
        self._look_seconds = look_seconds
        self._shares = {share.host.name: share for share in shares}
        self._config = config
        self._wanted = wanted
        self._tell = tell
        self._mark = mark
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._at_work: set[str] = set()

    def run(self) -> Mapping[str, Exported | str]:
        """What each host has made, or why not, naming the host."""
        hosts = [share.host for share in self._shares.values()]
        threading.Thread(target=self._look, daemon=True).start()
        try:
            outcomes = on_all(hosts, self._config, self._export, workers=max(1, len(hosts)))
        finally:
            self._ended.set()
        return {
            host.name: str(outcome) if isinstance(outcome, ProvisionError) else outcome
            for host, outcome in outcomes.items()
        }

    def stop(self) -> None:
        """End the exports on every host. Raises NotProvenStoppedError, naming hosts, where that cannot be shown."""
        self._stopping.set()
        hosts = [share.host for share in self._shares.values()]
        outcomes = on_all(hosts, self._config, self._stop, workers=max(1, len(hosts)))
        left = [host.name for host, outcome in outcomes.items() if outcome is not None]
        for outcome in outcomes.values():
            if outcome is not None:
                self._tell(str(outcome))
        if left:
            raise NotProvenStoppedError(f"not shown to be stopped: {', '.join(left)}")

    def _export(self, channel: Channel) -> Exported:
        name = channel.host.name
        if self._stopping.is_set():
            raise RemoteError(f"{name}: not begun")
        share, wanted = self._shares[name], self._wanted
        self._at_work.add(name)
        options = {
            "--context-length": wanted.context_length,
            "--shard-tokens": wanted.shard_tokens,
            "--local-ranks": wanted.local_ranks,
            "--name": wanted.name,
        }
        words = [word for option, value in options.items() if value is not None for word in (option, str(value))]
        try:
            said = ask_worker(
                channel,
                share.python,
                *("export", *share.directories, "--format", wanted.format, "--to", wanted.to),
                *words,
                timeout=_TIMEOUT_SECONDS,
                marked=self._mark,
            )
            done = msgspec.json.decode(said, type=Exported)
        except msgspec.DecodeError as error:
            raise RemoteError(f"{name}: its answer cannot be read: {error}") from error
        except RemoteError as error:
            self._tell(str(error))
            raise
        finally:
            self._at_work.discard(name)
        self._tell(f"{name}: {done.said(wanted)}")
        return done

    def _look(self) -> None:
        """Tell now and then how far hosts are that have not ended."""
        while not self._ended.wait(self._look_seconds):
            at_work = [self._shares[name].host for name in sorted(self._at_work)]
            outcomes = on_all(at_work, self._config, self._progress)
            for host, outcome in outcomes.items():
                # Who cannot be asked now is heard of when its export ends.
                if isinstance(outcome, Exporting) and host.name in self._at_work:
                    written, shards = outcome.written / 1e6, outcome.shards / 1e6
                    self._tell(f"{host.name}: {written:,.0f} MB written, from {shards:,.0f} MB of shards")

    def _progress(self, channel: Channel) -> Exporting:
        share = self._shares[channel.host.name]
        verb = ("exporting", *share.directories, "--to", self._wanted.to)
        try:
            return msgspec.json.decode(ask_worker(channel, share.python, *verb, timeout=_STOP_SECONDS), type=Exporting)
        except msgspec.DecodeError as error:
            raise RemoteError(f"{channel.host.name}: its answer cannot be read: {error}") from error

    def _stop(self, channel: Channel) -> RemoteError | None:
        name = channel.host.name
        python = self._shares[name].python
        directory = f"~/.shardfleet/runs/{self._mark}/{name}"
        left = msgspec.json.decode(ask_worker(channel, python, "stop", "--job", directory, timeout=_STOP_SECONDS))
        return RemoteError(f"{name}: still running: {left}") if left else None


def mark_of(directories: Sequence[str], wanted: ExportWanted) -> str:
    """A name for one export, such that the same command stops what an earlier one has left."""
    return f"export-{hashlib.sha256(canonical_json([list(directories), wanted])).hexdigest()[:10]}"


@dataclass(frozen=True, slots=True)
class RunExport:
    """What came of the export at the end of a run."""

    outcomes: Mapping[str, Exported | str]
    told: tuple[str, ...]
    """For the last words of the run."""

    @property
    def failed(self) -> list[str]:
        """Hosts that have not got it."""
        return [name for name, outcome in self.outcomes.items() if isinstance(outcome, str)]


def export_for_run(run: RunDirectory, plan: Plan, gathered: Gathered, tell: Callable[[str], None]) -> RunExport:
    """Have every host that holds units export them, at the end of a run that asked for it.

    Where several hosts see one directory, the first does. The exports count as processes of the run: who stops the run
    stops them.
    """
    wanted = plan.policy.export
    if wanted is None:
        return RunExport({}, ())
    if not gathered.complete:
        return RunExport({}, (f"not exported to {wanted.to}: the run is not complete",))
    stores = gathered.placement.stores
    holders = {stores[kept.host] for kept in gathered.placement.kept.values()}
    shares = [
        HostShards(host.host, plan.python_on(host), (host.output_dir, host.holdout_dir))
        for host in plan.hosts
        if host.name in holders and host.name in gathered.found
    ]
    tell(f"{wanted.format} on {len(shares)} hosts…")
    outcomes = dict(Exports(shares, run.ssh_config, wanted, tell, plan.run_id).run())
    outcomes |= {name: f"{name}: cannot be asked to export" for name in sorted(holders - gathered.found.keys())}
    return RunExport(outcomes, tuple(_summary(wanted, outcomes)))


def _summary(wanted: ExportWanted, outcomes: Mapping[str, Exported | str]) -> Iterator[str]:
    done = [outcome for outcome in outcomes.values() if isinstance(outcome, Exported)]
    yield (
        f"{wanted.format} in {wanted.to} on {len(done)} of {len(outcomes)} hosts: "
        f"{sum(one.documents for one in done):,} documents, {sum(one.tokens - one.left_out for one in done):,} tokens"
    )
    yield from (f"not exported: {outcome}" for outcome in outcomes.values() if isinstance(outcome, str))
