"""Bringing the holdout of all hosts to the launcher, as one directory of shards like any other."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from provision.errors import InputError, ProvisionError, RemoteError
from provision.finish.gather import Gathered
from provision.plan.hostjob import job_of
from provision.plan.plan import HostPlan, Plan
from provision.plan.rundir import RunDirectory
from provision.reach.channel import Channel
from provision.reach.fleet import on_all
from shard.errors import DiskFullError, JobError, ShardError
from shard.host.commits import Commit
from shard.records.compression import RANKS_FILE
from shard.records.frozen import sealed_json, unsealed
from shard.records.shards import (
    DIRECTORY_FILE,
    ShardRecord,
    belongs,
    directory_record,
    place_of,
    read_directory,
    read_shard,
)
from shard.records.trainers import ALIASES
from shard.storage.disk import file_sha256, fsync_directory, write_atomic
from shard.storage.links import alias

_SHARD_FILE = re.compile(r"\d{6,}\..*")
_WORKERS = 8
"""Hosts at once: a file of each is in memory."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What has come, and what has not."""

    units: int
    """That are in the directory now."""
    bytes: int
    """Of payloads, indexes and sidecars that came this time."""
    problems: tuple[str, ...]
    """One line for every host whose holdout is not all here."""

    def said(self, directory: Path) -> str:
        """In words."""
        return f"holdout of {self.units} units in {directory}, {self.bytes / 1e6:,.1f} MB of it brought now"


def bring_holdout(run: RunDirectory, plan: Plan, gathered: Gathered, directory: Path) -> Brought:
    """Copy the holdout shards of every unit into `directory`; what is there already, and equal, is not copied again.

    Names of files come from the plan, their sha256 from the hosts' records. Raises InputError when the directory is
    another's, DiskFullError when it is full; then, too, every shard in it is whole.
    """
    _open(directory, plan, gathered)
    _bring_ranks(run, plan, directory)
    shares: dict[str, list[Commit]] = {}
    unasked: dict[str, int] = {}
    for kept in gathered.placement.kept.values():
        if kept.record is None:
            unasked[kept.host] = unasked.get(kept.host, 0) + 1
        else:
            shares.setdefault(kept.host, []).append(kept.record)
    hosts = {host.name: host for host in plan.hosts if host.name in shares}

    def bring(channel: Channel) -> int:
        host = hosts[channel.host.name]
        return sum(_bring_unit(channel, plan, host, commit, directory) for commit in shares[host.name])

    try:
        outcomes = on_all([host.host for host in hosts.values()], run.ssh_config, bring, workers=_WORKERS)
    except DiskFullError as error:
        raise DiskFullError(
            f"{directory}: no space left; make some and run 'shardfleet gather {run.path} --holdout {directory}': what "
            "has arrived is kept"
        ) from error
    fsync_directory(directory)
    problems = [str(outcome) for outcome in outcomes.values() if isinstance(outcome, ProvisionError)]
    problems += [f"{name}: cannot be asked for the holdout of its {units} units" for name, units in unasked.items()]
    return Brought(
        units=sum(_is_here(directory, commit, plan, hashed=False) for share in shares.values() for commit in share),
        bytes=sum(outcome for outcome in outcomes.values() if isinstance(outcome, int)),
        problems=tuple(problems),
    )


def bring_for_run(run: RunDirectory, plan: Plan, gathered: Gathered) -> tuple[bool, list[str]]:
    """Do so at the end of a run that asked for it. Returns whether nothing of it is missing, and what to tell."""
    if plan.policy.gather_holdout is None:
        return True, []
    directory = Path(plan.policy.gather_holdout)
    if not gathered.complete:
        return False, [f"holdout not brought to {directory}: the run is not complete"]
    try:
        brought = bring_holdout(run, plan, gathered, directory)
    except (ProvisionError, ShardError) as error:
        return False, [f"holdout not brought here: {error}"]
    return not brought.problems, [*brought.problems, brought.said(directory)]


def _open(directory: Path, plan: Plan, gathered: Gathered) -> None:
    """Make the directory this dataset's. Raises InputError."""
    wanted = directory_record(job_of(plan, plan.hosts[0]), "holdout")
    owners = {place: name for name, found in gathered.found.items() for place in (found.place, found.holdout_place)}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if (owner := owners.get(place_of(directory) or "-")) is not None:
            raise InputError(f"{directory}: is a directory of {owner} itself; gather the holdout into another")
        if (directory / DIRECTORY_FILE).exists():
            found = read_directory(directory)
            before = found.chain == wanted.chain[: len(found.chain)]
            if found.split != wanted.split or not (before or found.fingerprint == wanted.fingerprint):
                raise InputError(
                    f"{directory}: holds {found.split} shards of fingerprint {found.fingerprint[:12]}, this run's is "
                    f"{wanted.fingerprint[:12]}; gather the holdout into another directory"
                )
            if found.fingerprint != wanted.fingerprint:
                write_atomic(directory / DIRECTORY_FILE, sealed_json(wanted))
            return
        if stray := next((path for path in directory.iterdir() if _SHARD_FILE.fullmatch(path.name)), None):
            raise InputError(f"{directory}: holds {stray.name} but no {DIRECTORY_FILE}; gather into another directory")
        write_atomic(directory / DIRECTORY_FILE, sealed_json(wanted))
    except OSError as error:
        raise InputError(f"{directory}: {error.strerror}; choose another directory for the holdout") from error
    except JobError as error:
        raise InputError(str(error)) from error


def _bring_ranks(run: RunDirectory, plan: Plan, directory: Path) -> None:
    """Put the rank table beside compressed shards. Raises InputError."""
    if plan.identity.compression is None:
        return
    try:
        ranks = run.ranks.read_bytes()
        if not (directory / RANKS_FILE).exists() or (directory / RANKS_FILE).read_bytes() != ranks:
            write_atomic(directory / RANKS_FILE, ranks)
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; without it no compressed shard can be read") from error


def _bring_unit(channel: Channel, plan: Plan, host: HostPlan, commit: Commit, directory: Path) -> int:
    """Copy one shard, its record last. Returns the bytes that came; 0 where it is here already."""
    if _is_here(directory, commit, plan, hashed=True):
        return 0
    stem = f"{commit.counts.unit:06d}"
    there = f"{host.holdout_dir.rstrip('/')}/{stem}"
    record = _get(channel, f"{there}.json")
    if not _is_record(record, commit, plan):
        raise RemoteError(f"{host.name}: {there}.json is not the record that it told of; gather again")
    size = 0
    (directory / f"{stem}.json").unlink(missing_ok=True)  # of another start: it must not commit these files
    for suffix, expected in _files(commit).items():
        if suffix.removeprefix(".") in ALIASES:
            alias(directory / f"{stem}.bin", directory / f"{stem}{suffix}")
            continue
        data = _get(channel, there + suffix)
        if (digest := hashlib.sha256(data).hexdigest()) != expected:
            raise RemoteError(
                f"{host.name}: {there}{suffix}: sha256 {digest}, its record says {expected}; 'shardfleet verify' shows "
                "whether it is damaged there"
            )
        write_atomic(directory / f"{stem}{suffix}", data)
        size += len(data)
    write_atomic(directory / f"{stem}.json", record)
    return size


def _get(channel: Channel, path: str) -> bytes:
    try:
        return channel.get(path)
    except FileNotFoundError as error:
        raise RemoteError(f"{channel.host.name}: {path} is gone since it told of it; gather again") from error


def _is_record(data: bytes, commit: Commit, plan: Plan) -> bool:
    try:
        record = msgspec.json.decode(unsealed(data), type=ShardRecord)
    except (msgspec.DecodeError, JobError):
        return False
    return _agree(record, commit, plan) and sealed_json(record) == data


def _is_here(directory: Path, commit: Commit, plan: Plan, *, hashed: bool) -> bool:
    base = directory / f"{commit.counts.unit:06d}"
    try:
        if not _agree(read_shard(directory, base.name), commit, plan):
            return False
        return not hashed or all(
            file_sha256(Path(f"{base}{suffix}")) == said for suffix, said in _files(commit).items()
        )
    except (JobError, OSError):
        return False


def _agree(record: ShardRecord, commit: Commit, plan: Plan) -> bool:
    return belongs(record, (*plan.earlier, plan.identity)) and (
        *(record.unit, record.split, record.payload_sha256, record.index_sha256, record.sidecars),
        record.compressed.sha256 if record.compressed is not None else "",
    ) == (
        *(commit.counts.unit, "holdout", commit.holdout_payload_sha256, commit.holdout_index_sha256),
        *(commit.holdout_sidecars, commit.holdout_compressed_sha256),
    )


def _files(commit: Commit) -> dict[str, str]:
    """Suffix → sha256 of what belongs to a shard, the payload first."""
    sidecars = {f".{suffix}": commit.holdout_sidecars[suffix] for suffix in sorted(commit.holdout_sidecars)}
    compressed = commit.holdout_compressed_sha256
    payload = {".zst": compressed} if compressed else {".bin": commit.holdout_payload_sha256}
    return {**payload, ".idx": commit.holdout_index_sha256, **sidecars}
