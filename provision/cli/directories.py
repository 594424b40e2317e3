"""import, concat: commands that make directories of shards on this machine from others."""

from pathlib import Path
from typing import Any

import click

from provision.cli.values import HomePath
from provision.tokenizer.resolve import NO_EOD, fetch_tokenizer
from shard.concat import concatenate
from shard.imports.options import ImportOptions
from shard.imports.run import IMPORTS, import_tokens
from shard.tokenizer.ranks import RANK_FILES


@click.command("import", short_help="Make directories of shards from files of another tool.")
@click.argument("path", type=HomePath())
@click.option("--format", "format_name", type=click.Choice([*IMPORTS]), required=True, help="See docs/directories.md.")
@click.option("--to", "target", type=HomePath(), required=True, help="Directory to make, for train.")
@click.option(
    "--holdout-dir",
    "holdout",
    type=HomePath(),
    help="Directory to make, for files named val, test or the like.  [default: that of --to with _holdout behind it]",
)
@click.option(
    "--tokenizer",
    required=True,
    metavar="NAME",
    help=f"That made the ids: {', '.join(RANK_FILES)}, bytes, hf:owner/name, a tokenizer.json, a SentencePiece .model, "
    "a directory with one of them, or a .tiktoken file.",
)
@click.option(
    "--eod",
    metavar=f"{NO_EOD}|ID",
    help="Token after every document in the files, or none.  [default: the tokenizer's own]",
)
@click.option(
    "--ids",
    type=click.Choice(["uint16", "uint32"]),
    help="How wide ids are, for nanogpt, whose files do not say.  [default: as the tokenizer needs]",
)
def import_command(
    path: Path, format_name: str, target: Path, holdout: Path | None, tokenizer: str, eod: str | None, ids: Any
) -> None:
    """Make directories of shards from the files of another tool: PATH is a directory of them, or one file.

    Every file becomes a unit, in the order of names. Ids, boundaries and sizes are checked; what is wrong is named, and
    nothing is left then.
    """
    options = ImportOptions(fetch_tokenizer(tokenizer, eod=eod).spec, ids)
    beside = target.absolute().with_name(f"{target.absolute().name}_holdout")
    for done in import_tokens(path, format_name, target, holdout or beside, options).values():
        click.echo(
            f"{done.directory}: {done.documents:,} documents, {done.tokens:,} tokens from {done.files} "
            f"{'file' if done.files == 1 else 'files'}"
        )


@click.command(short_help="Join DIRECTORIES of shards of equal tokenizer.")
@click.argument("directories", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--to", "target", type=HomePath(), required=True, help="Directory to make.")
@click.option(
    "--holdout-dir",
    "holdout",
    type=HomePath(),
    help="Directory to make for holdout, where directories of both splits are given.",
)
def concat(directories: tuple[Path, ...], target: Path, holdout: Path | None) -> None:
    """Join DIRECTORIES of shards of equal tokenizer, in their order, train with train and holdout with holdout.

    Payloads are compared with their records and hard-linked: they stand on the disk once, and the sources stay as they
    are.
    """
    for done in concatenate(directories, target, holdout):
        copied = f", {done.copied_bytes:,} bytes copied: no links there" if done.copied_bytes else ""
        click.echo(
            f"{done.directory}: {done.units} units, {done.documents:,} documents, {done.tokens:,} tokens{copied}"
        )
