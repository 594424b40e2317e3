"""inspect, cat: commands that look at directories of shards on this machine."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from msgspec.structs import asdict as asdict_of
from rich.console import Console
from rich.table import Table
from rich.text import Text

from provision.errors import InputError
from provision.run.display import human, rows_table, short_revision
from provision.tokenizer.decoder import decoder_of
from shard.records.shards import UnitSource
from shard.storage.stored import Stored, open_stored
from shard.storage.summary import Document, document_at, lengths_of

_DIRECTORY = click.Path(path_type=Path, file_okay=False, exists=True)
_BAR = 40
_CHARACTERS = 300
_SHARDS_SHOWN = 20

_tokenizer = click.option(
    "--tokenizer", "tokenizer", help="Its file, where the name in the shards does not lead to it: as for launch."
)


@click.command("inspect", short_help="Show what DIRECTORY holds: totals, lengths, documents.")
@click.argument("directory", type=_DIRECTORY)
@click.option("--documents", "shown", type=click.IntRange(min=0), default=2, show_default=True, help="Decoded, of all.")
@_tokenizer
@click.option("--json", "as_json", is_flag=True, help="One JSON object, every shard in it.")
def inspect_command(directory: Path, shown: int, tokenizer: str | None, as_json: bool) -> None:
    """Show what DIRECTORY holds: totals, tokenizer, lengths of documents, shards, some documents.

    Records and indexes are read, and not compared with the tokens: that is what verify does.
    """
    stored = open_stored(directory)
    facts = _facts(stored)
    if as_json:
        click.echo(json.dumps(facts))
        return
    Console().print(_totals(facts), _histogram(facts), _shards(facts), sep="\n\n", highlight=False)
    if shown and stored.documents:
        _show_documents(stored, shown, tokenizer)


def _show_documents(stored: Stored, shown: int, tokenizer: str | None) -> None:
    try:
        decoder = decoder_of(stored.record.tokenizer, tokenizer)
    except InputError as error:
        if tokenizer is not None:
            raise
        click.echo(f"\nno document is decoded: {error}", err=True)
        return
    for number in sorted({stored.documents * (i + 1) // (shown + 1) for i in range(shown)}):
        found = document_at(stored, number)
        click.echo(f"\ndocument {number}, {len(found.tokens)} tokens, {found.shard.record.source.path}:")
        click.echo(decoder.decode(_text(stored, found)[:_CHARACTERS])[:_CHARACTERS])


@click.command()
@click.argument("directory", type=_DIRECTORY)
@click.option("--document", "number", type=click.IntRange(min=0), required=True, help="From 0, in dataset order.")
@_tokenizer
@click.option("--tokens", is_flag=True, help="Ids instead of text.")
def cat(directory: Path, number: int, tokenizer: str | None, tokens: bool) -> None:
    """Print one document of DIRECTORY, decoded. Where it comes from is said on standard error."""
    stored = open_stored(directory)
    found = document_at(stored, number)
    source = found.shard.record.source
    click.echo(
        f"{found.shard.payload.name}, document {found.position} of {found.shard.record.documents}: "
        f"{len(found.tokens)} tokens; {stored.record.source.dataset} {source.path}, "
        f"within {_within(source)}",
        err=True,
    )
    if tokens:
        click.echo(" ".join(map(str, found.tokens.tolist())))
    else:
        click.echo(decoder_of(stored.record.tokenizer, tokenizer).decode(_text(stored, found)))


def _within(source: UnitSource) -> str:
    if source.lines is not None:
        return f"bytes {source.lines.start} to {source.lines.end}"
    return f"rows {source.row_start} to {source.row_end}"


def _text(stored: Stored, found: Document) -> list[int]:
    """Ids without those that frame a document."""
    ids: list[int] = found.tokens.tolist()
    before, after = stored.record.tokenizer.frame
    return ids[before : len(ids) - after]


def _facts(stored: Stored) -> dict[str, Any]:
    records = [shard.record for shard in stored.shards]
    dropped: Counter[str] = Counter()
    for record in records:
        dropped.update(record.dropped)
    lengths = lengths_of(stored)
    common = stored.record
    return {
        "directory": str(stored.directory),
        "split": common.split,
        "fingerprint": common.fingerprint,
        "dataset": common.source.dataset,
        "revision": common.source.revision,
        "tokenizer": {
            field: getattr(common.tokenizer, field) for field in ("name", "kind", "vocab_size", "bos_id", "eod_id")
        },
        "dtype": common.dtype,
        "units": len(records),
        "units_of_dataset": common.identity.units,
        "documents": stored.documents,
        "tokens": stored.tokens,
        "bytes": sum(record.payload_bytes for record in records),
        "disk_bytes": stored.disk_bytes(),
        "compression": None if common.identity.compression is None else asdict_of(common.identity.compression),
        "sidecars": sorted({suffix for record in records for suffix in record.sidecars}),
        "dropped": dict(dropped),
        "lengths": None if lengths is None else asdict(lengths),
        "shards": [
            {"stem": shard.stem, "documents": shard.record.documents, "tokens": shard.record.tokens}
            | {"source": shard.record.source.path, "host": shard.record.host}
            for shard in stored.shards
        ],
    }


def _totals(facts: dict[str, Any]) -> Any:
    tokenizer = facts["tokenizer"]
    rows = [
        ("documents", f"{facts['documents']:,}"),
        ("tokens", f"{facts['tokens']:,}"),
        ("bytes", f"{facts['bytes']:,} ({facts['dtype']})"),
        ("on disk", f"{facts['disk_bytes']:,} bytes, {facts['disk_bytes'] / max(1, facts['tokens']):.3f} a token"),
        ("compressed", _compression(facts["compression"])),
        ("sidecars", ", ".join(facts["sidecars"]) or "none"),
        ("units", f"{facts['units']:,} of {facts['units_of_dataset']:,} of the dataset"),
        (
            "dropped rows",
            ", ".join(f"{count:,} {reason}" for reason, count in facts["dropped"].items() if count) or "0",
        ),
        (
            "tokenizer",
            f"{tokenizer['name']}, {tokenizer['vocab_size']:,} ids, end of document {tokenizer['eod_id']}"
            + ("" if tokenizer["bos_id"] is None else f", beginning of document {tokenizer['bos_id']}"),
        ),
        ("dataset", f"{facts['dataset']} at {short_revision(facts['revision'])}"),
        ("fingerprint", facts["fingerprint"]),
    ]
    table = Table(title=f"{facts['directory']}: {facts['split']}", title_justify="left", show_header=False)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _compression(facts: dict[str, Any] | None) -> str:
    return (
        "no" if facts is None else f"{facts['codec']}, level {facts['level']}, {facts['frame_tokens']:,} tokens a frame"
    )


def _histogram(facts: dict[str, Any]) -> Any:
    lengths = facts["lengths"]
    if lengths is None:
        return "no document"
    most = max(count for *_, count in lengths["histogram"])
    said = f"{lengths['least']:,} to {lengths['most']:,}, median {lengths['median']:,.0f}, mean {lengths['mean']:,.0f}"
    table = Table(title=f"tokens of a document: {said}", title_justify="left")
    table.add_column("tokens", justify="right")
    table.add_column("documents", justify="right")
    table.add_column("", min_width=_BAR)
    for low, high, count in lengths["histogram"]:
        table.add_row(f"{low:,} to {high - 1:,}", f"{count:,}", "█" * -(-count * _BAR // most))
    return table


def _shards(facts: dict[str, Any]) -> Any:
    shards = facts["shards"]
    rows = [(shard["stem"], f"{shard['documents']:,}", human(shard["tokens"]), shard["source"]) for shard in shards]
    more = f"and {len(rows) - _SHARDS_SHOWN:,} more: --json has all" if len(rows) > _SHARDS_SHOWN else ""
    return rows_table("", ("shard", "documents", "tokens", "source"), rows[:_SHARDS_SHOWN], more)
