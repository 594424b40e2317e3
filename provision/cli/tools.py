"""hosts, hub serve: commands beside a run."""

import sys
from pathlib import Path

import click

from provision.cli.hostsfile import hosts_option, slots_option
from provision.errors import InputError
from provision.hosts import read_hosts
from provision.inventory import Form, render_hosts


@click.command()
@hosts_option
@slots_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["ansible", "deepspeed", "pdsh"]),
    default="pdsh",
    show_default=True,
    help="Inventory, hostfile, or list for -w.",
)
@click.option(
    "--ssh-config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="OpenSSH client config that the Ansible inventory is to name.",
)
def hosts(hosts_file: Path, default_slots: int | None, form: Form, ssh_config: Path | None) -> None:
    """Print hosts.txt in the form of another tool."""
    read = read_hosts(hosts_file, default_slots=default_slots)
    click.echo(render_hosts(read, form, ssh_config=ssh_config), nl=False)


@click.group()
def hub() -> None:
    """A local stand-in for the Hugging Face Hub."""


@hub.command(short_help="Serve DIRECTORY/<owner>/<name>/… as repositories.")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 chooses a free one.")
@click.option("--ready-file", type=click.Path(path_type=Path), help="Write the endpoint there once it answers.")
@click.option("--writable", is_flag=True, help="Let whoever reaches it, with any token, push to repositories.")
@click.option("--faults", is_flag=True, hidden=True, help="Answer requests that arm faults (for tests).")
def serve(directory: Path, host: str, port: int, ready_file: Path | None, writable: bool, faults: bool) -> None:
    """Serve DIRECTORY/<owner>/<name>/… as dataset and model repositories, read-only unless --writable.

    For clusters without internet: listen on an address that the hosts can reach (--host 0.0.0.0), and launch with the
    printed address in HF_ENDPOINT; it is passed on to the hosts.
    """
    try:
        from provision.hubserver import serve as serve_hub
    except ImportError as error:
        raise InputError(f"{error.name} is missing: pip install 'shardfleet[hub]'") from error

    def ready(endpoint: str) -> None:
        click.echo(f"HF_ENDPOINT={endpoint}")
        sys.stdout.flush()
        if ready_file is not None:
            ready_file.write_text(endpoint)

    serve_hub(directory, host, port, faults=faults, writable=writable, on_ready=ready)
