"""Appending to what hosts hold: which source files are new, and behind which identities they come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from provision.catalog.types import Catalog, SourceFile
from provision.errors import InputError, NothingToAppendError, NotReadyError, ProvisionError, RemoteError
from provision.hosts import Host
from provision.plan.units import GROUPED, units_of
from provision.reach.channel import Channel
from provision.reach.fleet import on_all
from provision.reach.remote import ask_worker
from shard.host.contents import Contents, UnitThere
from shard.records.identity import Identity, unlike
from shard.records.job import Holdout, TokenizerSpec, identity_of
from shard.records.progress import ranges_of
from shard.records.shards import DirectoryRecord

_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Held:
    """What the directories of all hosts hold together."""

    record: DirectoryRecord
    """Of the host that has been appended to last."""
    units: tuple[UnitThere, ...]
    """Of all hosts, ascending."""
    behind: tuple[str, ...] = ()
    """Hosts that have shards and took no part in the latest append."""


@dataclass(frozen=True, slots=True)
class Added:
    """What a run is to do."""

    files: Sequence[SourceFile]
    earlier: tuple[Identity, ...]


def held_by(
    hosts: Sequence[Host], config: Path, directories: Mapping[str, tuple[str, str]], pythons: Mapping[str, str]
) -> Held:
    """Ask every host what it holds.

    Raises NotReadyError, naming hosts, for those that cannot say, and InputError where they hold nothing, or do not
    agree; a host without directories is new, and one that took no part in the latest append is behind.
    """

    def ask(channel: Channel) -> Contents:
        name = channel.host.name
        output, holdout = directories[name]
        verb = ("contents", "--output-dir", output, "--holdout-dir", holdout)
        try:
            return msgspec.json.decode(
                ask_worker(channel, pythons[name], *verb, timeout=_TIMEOUT_SECONDS), type=Contents
            )
        except msgspec.DecodeError as error:
            raise RemoteError(f"{name}: does not answer as this shardfleet does: {error}") from error

    answers = {host.name: answer for host, answer in on_all(hosts, config, ask, workers=64).items()}
    silent = [str(answer) for answer in answers.values() if isinstance(answer, ProvisionError)]
    if silent:
        raise NotReadyError("\n  ".join(["not started: what is there already must be known of every host:", *silent]))
    return joined({name: answer for name, answer in answers.items() if isinstance(answer, Contents)})


def joined(contents: Mapping[str, Contents]) -> Held:
    """What hosts hold, as one. Raises InputError when they do not agree (pure)."""
    records = {name: found.record for name, found in contents.items() if found.record is not None}
    if not records:
        raise InputError("no host has shards there: there is nothing to append to; use 'shardfleet launch'")
    last = max(records, key=lambda name: len(records[name].chain))
    chain = records[last].chain
    for name, record in records.items():
        if record.chain != chain[: len(record.chain)]:
            raise InputError(
                f"{name} holds shards of fingerprint {record.fingerprint[:12]}, {last} of "
                f"{chain[-1].fingerprint[:12]}: append only to directories of one dataset"
            )
    units = {unit.unit: unit for found in contents.values() for unit in found.units}
    behind = tuple(name for name, record in records.items() if len(record.chain) < len(chain))
    return Held(records[last], tuple(units[ordinal] for ordinal in sorted(units)), behind)


def added(held: Held | None, catalog: Catalog, tokenizer: TokenizerSpec, holdout: Holdout, unit_bytes: int) -> Added:
    """The files that are not held yet, in the order of the dataset, and what they come behind (pure).

    Where the latest append was of these very files, and is not complete, or has left a host behind, it goes on. Raises
    NothingToAppendError when there is nothing to do; InputError when a file has changed, options differ, or an earlier
    run is not complete.
    """
    if held is None:
        return Added(catalog.files, ())
    chain = held.record.chain
    if chain[-1].compression is not None:
        raise InputError(
            "the directories are compressed, with a rank table that was made for what they hold: nothing is "
            "appended to them; launch what is new into directories of its own"
        )
    _require_options(catalog, tokenizer, holdout, chain[-1])
    if len(chain) > 1:
        before, latest = chain[:-1], chain[-1]
        # Not held against files that came before: they may be of another dataset, whose name nobody has kept.
        files = _new_files(held, catalog, latest.first_unit)
        dataset = catalog.dataset
        units = units_of(files, unit_bytes, dataset.input, latest.first_unit, named=bool(dataset.named))
        there = {unit.unit for unit in held.units}
        if identity_of(catalog.dataset, tokenizer, holdout, units, base=before[-1]) == latest:
            _require_complete(held, latest.first_unit)
            if there.issuperset(range(latest.first_unit, latest.units)) and not held.behind:
                raise _nothing(catalog)
            return Added(files, before)
    _require_files_known(held, catalog)
    files = _new_files(held, catalog, chain[-1].units)
    _require_unchanged(held, catalog, files)
    if not files:
        raise _nothing(catalog)
    _require_complete(held, chain[-1].units)
    return Added(files, chain)


def _require_files_known(held: Held, catalog: Catalog) -> None:
    """Raise InputError where files of the catalog may be there already, in units that do not name all their files."""
    paths = {file.path for file in catalog.files}
    latest = held.record.identity.first_unit
    same_dataset = held.record.source.dataset == catalog.dataset.name
    for grouped in (unit for unit in held.units if unit.content_id.startswith(GROUPED)):
        # Of earlier appends nobody has kept the dataset's name.
        if not (same_dataset if grouped.unit >= latest else grouped.path in paths):
            continue
        raise InputError(
            f"unit {grouped.unit} holds many small files, {grouped.path} the first, and records do not name the "
            "others: launch the new files into directories of their own, and join them with 'shardfleet concat'"
        )


def _nothing(catalog: Catalog) -> NothingToAppendError:
    return NothingToAppendError(f"nothing to append: all {len(catalog.files)} files are there already")


def _require_options(catalog: Catalog, tokenizer: TokenizerSpec, holdout: Holdout, latest: Identity) -> None:
    if differing := unlike(identity_of(catalog.dataset, tokenizer, holdout, ()), latest):
        raise InputError(f"the directories hold shards made with other options: {'; '.join(differing)}")


def _new_files(held: Held, catalog: Catalog, before: int) -> list[SourceFile]:
    """Files of which no unit under `before` is."""
    contents = {unit.content_id for unit in held.units if unit.unit < before}
    return [file for file in catalog.files if file.content_id not in contents]


def _require_unchanged(held: Held, catalog: Catalog, new: Sequence[SourceFile]) -> None:
    """Raise InputError where a new file is, by its path, one that is there."""
    if held.record.source.dataset != catalog.dataset.name:
        return
    paths = {unit.path for unit in held.units}
    if changed := [file.path for file in new if file.path in paths]:
        raise InputError(
            f"{catalog.dataset.name}: {changed[0]} is there with another content, and {len(changed) - 1} more files: "
            "new files can be appended, changed ones cannot; make the dataset anew in other directories"
        )


def _require_complete(held: Held, units: int) -> None:
    there = {unit.unit for unit in held.units}
    missing = list(ranges_of(ordinal for ordinal in range(units) if ordinal not in there))
    if missing:
        start, end = missing[0]
        raise InputError(
            f"units {start} to {end - 1} of the directories are on no host that was asked: do the run or append of "
            "theirs again, with its own options, before something else is appended; or name all its hosts"
        )


def shares(hosts: Sequence[Host], output_dir: str, holdout_dir: str) -> dict[str, tuple[str, str]]:
    """Each host's directories."""
    return {host.name: (host.output_dir or output_dir, host.holdout_dir or holdout_dir) for host in hosts}
