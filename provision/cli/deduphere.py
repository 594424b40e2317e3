"""dedup of directories on this machine."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from provision.cli.dedupsaid import curve, estimate, require_few
from provision.errors import InputError
from provision.tokenizer.decoder import decoder_of
from shard.dedup.run import at_work, deduplicate, open_pair
from shard.records.dedup import Settings
from shard.records.shards import Split


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
    final = targets[0].absolute()
    finals: dict[Split, Path] = {"train": final, "holdout": targets[1] or final.with_name(f"{final.name}_holdout")}
    if not dry_run:
        _require_new(finals.values())
    if settings.scheme.kind == "minhash":
        click.echo(curve(settings))
    here, units = len(pair["train"].shards), pair["train"].record.identity.units
    if here < units:
        click.echo(
            f"note: {here:,} of the dataset's {units:,} units are here; copies of what the others hold will stay"
        )
    many = processes or len(os.sched_getaffinity(0))
    work = work or final.with_name(f"{final.name}_dedup")
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
    click.echo(f"{work}: signatures and removal lists; remove it when they are of no more use")


def _require_new(finals: Iterable[Path]) -> None:
    """Before hours of work, not after them."""
    for final in finals:
        if final.exists():
            raise InputError(f"{final}: exists, and nothing is replaced: remove it, or choose another")
