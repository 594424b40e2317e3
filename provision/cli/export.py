"""export: shards in the format of a trainer, on this machine or on all hosts."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from provision.cli.options import DEFAULT_PYTHON
from provision.cli.stopping import stopped_by_ctrl_c
from provision.cli.values import Count, home_path
from provision.errors import ProvisionError
from provision.finish.exports import Exports, HostShards, mark_of
from provision.hosts import check_directory, read_hosts
from provision.plan.plan import ExportWanted
from provision.reach.ssh.config import write_ssh_config
from shard.export.options import ExportOptions
from shard.export.run import FORMATS
from shard.export.run import export as write_export


@click.command(short_help="Write DIRECTORIES of shards in the format of a trainer.")
@click.argument("directories", nargs=-1, required=True)
@click.option("--format", "format_name", type=click.Choice([*FORMATS]), required=True, help="See docs/export.md.")
@click.option("--to", "target", required=True, help="Directory to make.")
@click.option(
    "--context-length",
    "--block-size",
    "context_length",
    type=click.IntRange(min=1),
    metavar="L",
    help="Tokens of a sample, where the format has samples.",
)
@click.option(
    "--shard-size",
    "shard_tokens",
    type=Count(),
    metavar="TOKENS",
    help="Tokens of a file at which the next begins, such as 100M. [default: what is customary]",
)
@click.option("--local-ranks", type=click.IntRange(min=1), help="Ranks of a host that trains (catid). [default: 8]")
@click.option(
    "--test-size",
    "test_rows",
    type=click.IntRange(min=1),
    metavar="ROWS",
    help="Without a holdout: exactly so many rows, drawn from the train shards, are the test split (parquet-packed).",
)
@click.option(
    "--name",
    help="What files are called: the prefix of a pair (megatron), the beginning (llmc). [default: what is customary]",
)
@click.option(
    "--hosts",
    "hosts_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Do so on every host of a hosts.txt; DIRECTORIES and --to are paths there, '~/…' below the host's home.",
)
@click.option("--ssh-config", type=click.Path(path_type=Path), metavar="FILE", help="With --hosts: as for launch.")
@click.option(
    "--remote-python", default=DEFAULT_PYTHON, show_default=True, metavar="PATH", help="With --hosts: as for launch."
)
def export(
    directories: tuple[str, ...],
    format_name: str,
    target: str,
    context_length: int | None,
    shard_tokens: int | None,
    local_ranks: int | None,
    test_rows: int | None,
    name: str | None,
    hosts_file: Path | None,
    ssh_config: Path | None,
    remote_python: str,
) -> None:
    """Write DIRECTORIES of shards, train and holdout, in the format of a trainer.

    Every payload is compared with its record on the way. The target appears when all of it is written, with export.json
    that says what it holds and where from. Formats with the same payload take it by hard link, where that is possible.

    With --hosts every host does so with its own shards, all at once; a host that has this very export already is
    skipped. Exit code 0 when every host has it. Ctrl+C stops all of them.
    """
    options = ExportOptions(
        context_length=context_length,
        shard_tokens=shard_tokens,
        name=name,
        local_ranks=local_ranks,
        test_rows=test_rows,
    )
    if hosts_file is not None:
        if test_rows is not None:
            raise click.UsageError("--test-size draws from the shards of one machine: leave out --hosts")
        wanted = ExportWanted(
            format=format_name,
            to=target,
            context_length=context_length,
            shard_tokens=shard_tokens,
            local_ranks=local_ranks,
            name=name,
        )
        sys.exit(_on_hosts(directories, wanted, hosts_file, ssh_config, remote_python))
    done = write_export([*map(home_path, directories)], format_name, home_path(target), options)
    click.echo(f"{target}: {done.documents:,} documents, {done.tokens - done.left_out:,} tokens as {format_name}")
    click.echo(f"{done.disk_bytes:,} bytes of its own, {done.linked_bytes:,} shared with the shards")
    if done.left_out:
        click.echo(f"{done.left_out:,} tokens at the end fill no sample of {context_length} and were left out")
    if done.note:
        click.echo(f"note: {done.note}")
    sys.stdout.flush()


def _on_hosts(
    directories: tuple[str, ...], wanted: ExportWanted, hosts_file: Path, ssh_config: Path | None, remote_python: str
) -> int:
    hosts = read_hosts(hosts_file, default_slots=1)
    check_directory("--to", wanted.to)
    for directory in directories:
        check_directory("DIRECTORIES", directory)
    with TemporaryDirectory(prefix="shardfleet-export-") as scratch:
        config = Path(scratch) / "ssh_config"
        write_ssh_config(config, hosts, user_config=ssh_config)
        shares = [
            HostShards(host, sys.executable if host.is_local else remote_python, tuple(directories)) for host in hosts
        ]
        exports = Exports(shares, config, wanted, click.echo, mark_of(directories, wanted))
        click.echo(f"{wanted.format} on {len(hosts)} hosts…", err=True)
        with stopped_by_ctrl_c(exports.stop):
            outcomes = exports.run()
    failed = [name for name, outcome in outcomes.items() if isinstance(outcome, str)]
    if failed:
        raise ProvisionError(f"not exported on {len(failed)} of {len(hosts)} hosts: {', '.join(failed)}")
    return 0
