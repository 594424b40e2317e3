"""A fleet whose hosts are those of a cluster of namespaces: see tests.support.fleet for what it can do."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.fleet import Fleet, Seen, fleet_over
from tests.support.hub import RunningHub
from tests.support.netns import Cluster


@contextmanager
def cluster_fleet(
    directory: Path, cluster: Cluster, hub: RunningHub, ranks: Mapping[str, int], *options: str
) -> Iterator[Fleet]:
    """A fleet of some of a cluster's hosts (name → ranks) over a Hub that they reach; `directory` is the launcher's."""
    homes = {name: cluster[name].home for name in ranks}
    with fleet_over(directory, hub, ranks, homes, cluster.ssh_config, *options) as fleet:
        yield fleet


def strike_launcher(fleet: Fleet, role: str, number: signal.Signals = signal.SIGKILL) -> list[Seen]:
    """Signal processes of the launcher's side by role: `launcher`, `pdsh`, `ssh`, `ssh HOST`. Returns those there."""
    name, _, host = role.partition(" ")
    if name not in ("launcher", "pdsh", "ssh"):
        raise ValueError(f"no role {role!r}; there are launcher, pdsh, ssh, ssh HOST")
    if name == "launcher":
        started = {running.pid for running in fleet.started}
        found = [process for process in fleet.processes() if process.pid in started]
    else:
        found = [process for process in fleet.named(name) if not host or host in process.argv]
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
    return found
