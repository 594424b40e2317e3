"""The command `shardfleet`: the only place that parses arguments, prints and exits."""

import os
import sys

import click
import stamina.instrumentation

from provision import __version__
from provision.cli.append import append
from provision.cli.bench import bench_loader
from provision.cli.dedup import dedup
from provision.cli.directories import concat, import_command
from provision.cli.export import export
from provision.cli.gather import gather
from provision.cli.inspect import abort, attach, status, verify
from provision.cli.provision import provision
from provision.cli.push import push
from provision.cli.runs import launch, plan, script
from provision.cli.shards import cat, inspect_command
from provision.cli.text import text
from provision.cli.tokenizer import tokenizer
from provision.cli.tools import hosts, hub
from provision.errors import NotProvenStoppedError, ProvisionError
from shard.errors import ShardError


@click.group()
@click.version_option(__version__, prog_name="shardfleet")
def cli() -> None:
    """Gets a pretraining dataset onto a cluster: streamed, tokenized, sharded, verified."""


for command in (provision, plan, script, launch, append, status, attach, abort, verify, gather):
    cli.add_command(command)
for command in (inspect_command, cat, export, push, import_command, concat, dedup, bench_loader):
    cli.add_command(command)
for command in (text, tokenizer, hosts, hub):
    cli.add_command(command)


def _say_retry(details: stamina.instrumentation.RetryDetails) -> None:
    click.echo(f"{details.caused_by}; trying again in {details.wait_for:.0f} s", err=True)


def main() -> None:
    """Entry point: errors become one message and their exit code."""
    stamina.instrumentation.set_on_retry_hooks([_say_retry])
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        sys.stdout.flush()
        # Not sys.exit, which would wait for the threads that wait for hosts.
        os._exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (ProvisionError, ShardError) as error:
        # Names in it may come from data, and a terminal heeds what it is sent.
        said = "".join(c if c.isprintable() or c == "\n" else " " for c in str(error))
        click.echo(f"shardfleet: {said}", err=True)
        sys.stdout.flush()
        if isinstance(error, NotProvenStoppedError):
            os._exit(error.exit_code)  # as above
        sys.exit(error.exit_code)
