"""dedup of directories on this machine."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from provision.cli.dedupsaid import curve, estimate, require_few
from provision.errors import InputError
from provision.tokenizer.decoder import decoder_of
from shard.dedup.run import at_work, deduplicate, open_pair
from shard.records.dedup import Settings
from shard.records.shards import Split
from shard.storage.whole import require_apart


def dedup_here(
    directories: tuple[Path, Path],
    targets: tuple[Path, Path | None],
    settings: Settings,
    max_removed: float,
    dry_run: bool,
    work: Path | None,
    memory: int | None,
    processes: int | None,
    tokenizer: str | None,
) -> None:
    """Write a pair of directories anew, and say so. Raises InputError, TooManyDuplicatesError, ShardError."""
    for directory in directories:
        if not directory.is_dir():
            raise InputError(f"{directory}: no such directory")
    pair = open_pair(directories)
    final = targets[0].expanduser().absolute()
    beside = final.with_name(f"{final.name}_holdout")
    finals: dict[Split, Path] = {
        "train": final,
        "holdout": beside if targets[1] is None else targets[1].expanduser().absolute(),
    }
    require_apart(finals)
    if not dry_run:
        _require_new([*finals.values()])
    work = final.with_name(f"{final.name}_dedup") if work is None else work.expanduser().absolute()
    _require_own(work, directories, [*finals.values()])
    if settings.scheme.kind == "minhash":
        click.echo(curve(settings))
    here, units = len(pair["train"].shards), pair["train"].record.identity.units
    if here < units:
        click.echo(
            f"note: {here:,} of the dataset's {units:,} units are here; copies of what the others hold will stay"
        )
    many = processes or len(os.sched_getaffinity(0))
    reference = decoder_of(pair["train"].record.tokenizer, tokenizer)
    shards = sum(len(stored.shards) for stored in pair.values())
    with at_work(work):
        with click.progressbar(length=shards, label="signatures", file=sys.stderr) as bar:
            found = deduplicate(
                pair, reference, settings, work, memory=memory, processes=many, progress=lambda: bar.update(1)
            )
        lists = work / "removed"
        click.echo(estimate(found.duplicates, settings, lists))
        if dry_run:
            return
        require_few(found.duplicates, max_removed, lists)
        for split, done in found.write(finals, many).items():
            click.echo(f"{done.directory}: {split}, {done.documents:,} documents, {done.tokens:,} tokens")
    # Not the directory itself: who chose it may have other things there.
    click.echo(f"{work / 'signatures'}, {lists}: remove them when they are of no more use")


def _require_own(work: Path, directories: Sequence[Path], finals: Sequence[Path]) -> None:
    """What is there stays as it is, and what is to be made must not be there before it is whole."""
    place = work.resolve()
    if place in [directory.resolve() for directory in directories]:
        raise InputError(f"--work-dir {work}: has shards; choose another")
    if taken := [final for final in finals if place.is_relative_to(final.resolve())]:
        raise InputError(f"--work-dir {work}: {taken[0]} is to be made, whole or not at all; choose another")


def _require_new(finals: Sequence[Path]) -> None:
    """Before hours of work, not after them."""
    for final in finals:
        if final.exists():
            raise InputError(f"{final}: exists, and nothing is replaced: remove it, or choose another")
