"""The options that name the hosts, of every command that reads hosts.txt."""

from pathlib import Path

import click

hosts_option = click.option(
    "--hosts",
    "hosts_file",
    type=click.Path(path_type=Path),
    default=Path("hosts.txt"),
    show_default=True,
    help="One host a line: name and rank count.",
)
slots_option = click.option(
    "--default-slots", type=click.IntRange(min=1), metavar="N", help="Rank count of hosts whose line has none."
)
