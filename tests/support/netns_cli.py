"""Test hosts by hand: what scripts/test-cluster.sh calls. One such cluster stands at a time, until `down`."""

import os
import subprocess
import sys
from pathlib import Path

import click

from tests.support.fleet import DATASET
from tests.support.jobs import write_corpus
from tests.support.netns import MOST_HOSTS, Cluster, base, clusters, make_cluster
from tests.support.netns_host import Host
from tests.support.netns_tools import ToolError, UnavailableError, call, identity, wait_for
from tests.support.text import real_documents


@click.group()
def cli() -> None:
    """Hosts made of network namespaces on this machine, to try shardfleet on. Needs root."""


@cli.command()
@click.argument("count", type=click.IntRange(1, MOST_HOSTS))
@click.option(
    "--hub", "hub_directory", type=click.Path(path_type=Path, file_okay=False, exists=True), help="What its Hub serves."
)
def up(count: int, hub_directory: Path | None) -> None:
    """Make COUNT hosts and a Hub, and say how to launch on them."""
    standing = _standing()
    if standing is not None:
        raise click.ClickException(f"{len(standing.names)} hosts stand already, in {standing.directory}; down first")
    cluster = make_cluster(count, outlive=True)
    try:
        endpoint = _serve(cluster, hub_directory)
    except BaseException:
        cluster.close()
        raise
    (cluster.directory / "hosts.txt").write_text("".join(f"{name} 2\n" for name in cluster.names))
    dataset = "OWNER/NAME" if hub_directory else DATASET
    click.echo(
        f"hosts      {cluster.directory}/hosts.txt\n"
        f"ssh        ssh -F {cluster.ssh_config} h1\n"
        f"Hub        HF_ENDPOINT={endpoint}\n"
        f"homes      {cluster.directory}/homes\n\n"
        f"HF_ENDPOINT={endpoint} shardfleet launch --hosts {cluster.directory}/hosts.txt "
        f"--ssh-config {cluster.ssh_config} --remote-python {sys.executable} --dataset {dataset} --tokenizer bytes"
    )


@cli.command()
def down() -> None:
    """Take the hosts away, with all that runs and lies on them."""
    cluster = _standing()
    if cluster is not None:
        cluster.close()


@cli.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(host: str, argv: tuple[str, ...]) -> None:
    """Run a command on a host, also on one that the network does not reach."""
    line = _host(host).argv(*argv)
    os.execv(line[0], line)


@cli.command()
@click.argument("host")
@click.argument("state", type=click.Choice(["up", "down"]))
def link(host: str, state: str) -> None:
    """Plug a host's cable in or pull it."""
    _host(host).link(up=state == "up")


@cli.command()
@click.argument("host")
@click.argument("limit", metavar="RATE|off")
def rate(host: str, limit: str) -> None:
    """Limit both directions of a host's cable: 8mbit, 100kbit."""
    _host(host).rate(None if limit == "off" else limit)


@cli.command()
def status() -> None:
    """Hosts, their addresses, cables and processes."""
    cluster = _standing()
    if cluster is None:
        click.echo("no hosts stand; up N makes some")
        return
    for host in cluster.hosts.values():
        if host.init is None:
            click.echo(f"{host.name:6} {host.address:15} dead")
            continue
        near = call("ip", "-o", "link", "show", host.cable.name).split("<")[1].split(">")[0].split(",")
        plugged = "up" if "UP" in near else "down"
        limit = next((line for line in host.cable.queues(host.init) if "rate" in line), "no limit")
        click.echo(f"{host.name:6} {host.address:15} link {plugged:4} {len(host.processes()):3} processes  {limit}")


def _standing() -> Cluster | None:
    return next((cluster for cluster in clusters() if cluster.outlive), None)


def _host(name: str) -> Host:
    cluster = _standing()
    if cluster is None:
        raise click.ClickException("no hosts stand; up N makes some")
    if name not in cluster.names:
        raise click.ClickException(f"no host {name}; there are {', '.join(cluster.names)}")
    return cluster[name]


def _serve(cluster: Cluster, directory: Path | None) -> str:
    """Start a Hub server that outlives this process. Returns its endpoint."""
    if directory is None:
        directory = cluster.directory / "hub"
        write_corpus(directory / DATASET, real_documents(400), files=24)
    ready, log = cluster.directory / "hub-endpoint", cluster.directory / "hub.log"
    options = ("--host", cluster.hub_address, "--port", "8000", "--ready-file", str(ready), "--faults")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "provision", "hub", "serve", str(directory.absolute()), *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    cluster.hub_process = identity(process.pid)
    cluster.save()

    def answers() -> str | None:
        if process.poll() is not None:
            raise ToolError(f"the Hub server ended with {process.returncode}: {log.read_text()}")
        return ready.read_text() if ready.exists() and ready.stat().st_size else None

    return wait_for(answers, "the Hub server answers")


def main() -> None:
    try:
        base()
        cli()
    except (ToolError, UnavailableError, TimeoutError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
