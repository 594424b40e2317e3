"""Hosts of a cluster on one machine, made of namespaces: N hosts on a bridge, the launcher and a Hub at its near side.

The launcher is whoever calls, in the machine's own namespaces; it reaches `h1`, `h2`, … with `ssh_config`, which pdsh,
paramiko and Ansible can all use. The Hub's address is on the bridge, too: cutting one host off cuts no other. Hosts
share this machine's file system, but for homes, which lie at one path that only they see something at.

Several clusters may stand at once. One that belongs to a process dies with it, however that ends; what is left of it on
disk and of its bridge goes when the next cluster is made.
"""

import fcntl
import ipaddress
import json
import os
import random
import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

from tests.support.netns_files import write_files
from tests.support.netns_host import Host
from tests.support.netns_tools import (
    ToolError,
    call,
    identity,
    living,
    mounts_under,
    require,
    unmount,
    wait_for,
)

_STATE = "state.json"
_FIRST_HOST = 11
MOST_HOSTS = 200


def base() -> Path:
    """Where clusters keep their state. Only this user's: keys lie there."""
    directory = Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp", "shardfleet-hosts").absolute()
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if directory.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise ToolError(f"{directory} is another user's, or others may write there; remove it")
    return directory


@dataclass
class Cluster:
    """See the module."""

    directory: Path
    """Named as the bridge; holds `ssh_config`, `known_hosts`, `id`, `homes/<host>`, `<host>/`."""
    subnet: str
    """Such as 10.203.7: what addresses begin with."""
    owner: str
    """Identity of the process that made it."""
    outlive: bool
    """Whether it is to outlive its owner; else it dies with it."""
    names: tuple[str, ...]
    hub_process: str | None = None
    """Identity of a Hub server that stands as long as the cluster; see the script for use by hand."""
    _processes: dict[str, "Popen[bytes]"] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def launcher_address(self) -> str:
        return f"{self.subnet}.1"

    @property
    def hub_address(self) -> str:
        """For a Hub server: `running_hub(…, host=cluster.hub_address)`."""
        return f"{self.subnet}.2"

    @property
    def ssh_config(self) -> Path:
        return self.directory / "ssh_config"

    @property
    def hosts(self) -> dict[str, Host]:
        return {
            name: Host(name, f"{self.subnet}.{number}", self.launcher_address, self.name, self.directory)
            for number, name in enumerate(self.names, _FIRST_HOST)
        }

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    @property
    def homes(self) -> dict[str, Path]:
        """By host name, as seen from here."""
        return {name: host.home for name, host in self.hosts.items()}

    def up(self) -> None:
        """Bring up every host and every sshd that is down."""
        down = [host for host in self.hosts.values() if host.init is None]
        for host in down:
            self._bury(host)
            self._processes[host.name] = host.start(outlive=self.outlive)
        for host in self.hosts.values():
            host.start_sshd()

    def kill(self, name: str) -> None:
        """Cut a host's power; `up` brings it back."""
        self[name].kill()
        self._bury(self[name])

    def reset(self) -> None:
        """As new: every host up with nothing running on it, cables in, no limits, homes empty, no disks."""
        self.up()
        for host in self.hosts.values():
            host.link(up=True)
            host.rate(None)
            host.clear()
            host.empty_home()

    def close(self) -> None:
        """Take everything away."""
        # What is half removed looks like a leftover to others.
        with _locked():
            self.remove()

    def remove(self) -> None:
        """The same, for who holds the lock."""
        for host in self.hosts.values():
            host.kill()
            self._bury(host)
        if self.hub_process is not None and (hub := living(self.hub_process)) is not None:
            os.kill(hub, signal.SIGKILL)
            wait_for(lambda: living(self.hub_process or "") is None or None, "the Hub server dies")
        _remove(self.directory)

    def save(self) -> None:
        kept = {name: getattr(self, name) for name in ("subnet", "owner", "outlive", "names", "hub_process")}
        (self.directory / _STATE).write_text(json.dumps(kept))

    def _bury(self, host: Host) -> None:
        process = self._processes.pop(host.name, None)
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            process.wait()


def make_cluster(count: int, *, outlive: bool = False) -> Cluster:
    """A cluster of `count` hosts, all up. It dies with this process unless it is to `outlive` it.

    Raises UnavailableError where this machine cannot.
    """
    if not 1 <= count <= MOST_HOSTS:
        raise ValueError(f"{count} hosts: from 1 to {MOST_HOSTS}")
    require()
    with _locked():
        _clear_leftovers()
        cluster = Cluster(
            directory=base() / f"sf{secrets.token_hex(3)}",
            subnet=_free_subnet(),
            owner=identity(os.getpid()) or "",
            outlive=outlive,
            names=tuple(f"h{number}" for number in range(1, count + 1)),
        )
        cluster.directory.mkdir(mode=0o700)
        cluster.save()
        # Under the lock, or the next one might find the same subnet free.
        call("ip", "link", "add", cluster.name, "address", "02:00:00:00:00:01", "type", "bridge")
        for address in (cluster.launcher_address, cluster.hub_address):
            call("ip", "addr", "add", f"{address}/24", "dev", cluster.name)
        call("ip", "link", "set", cluster.name, "up")
    try:
        # A mount of its own: what is mounted below it later shows on the hosts, too.
        call("mount", "--bind", cluster.directory, cluster.directory)
        call("mount", "--make-shared", cluster.directory)
        near = {"launcher": cluster.launcher_address, "hub": cluster.hub_address}
        write_files(cluster.directory, cluster.hosts, near)
        cluster.up()
    except BaseException:
        cluster.close()
        raise
    return cluster


@contextmanager
def running_cluster(count: int) -> Iterator[Cluster]:
    """A cluster for the length of a block."""
    cluster = make_cluster(count)
    try:
        yield cluster
    finally:
        cluster.close()


def clusters() -> list[Cluster]:
    """All whose state lies here, alive or not."""
    return [
        Cluster(directory=path.parent, **{**kept, "names": tuple(kept["names"])})
        for path in sorted(base().glob(f"*/{_STATE}"))
        for kept in [_read(path)]
    ]


def clear_leftovers() -> None:
    """Remove the clusters of owners that are gone, and those that were to stay and did not, as after a reboot."""
    with _locked():
        _clear_leftovers()


def _clear_leftovers() -> None:
    known = clusters()
    for cluster in known:
        stands = cluster.outlive and any(host.init is not None for host in cluster.hosts.values())
        if not stands and living(cluster.owner) is None:
            cluster.remove()
    for entry in base().iterdir():
        if entry.is_dir() and entry not in [cluster.directory for cluster in known]:
            _remove(entry)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _free_subnet() -> str:
    """The first three numbers of a /24 inside 10.128.0.0/9 that no address and no route of this machine touches."""
    taken = []
    for line in call("ip", "-4", "route", "show", "table", "all").splitlines():
        with suppress(ValueError, IndexError):
            words = line.split()
            taken.append(ipaddress.ip_network(words[1] if words[0] in ("local", "broadcast") else words[0]))
    # What routes all of the range to somewhere, as a VPN may, gives way to the more specific route of the bridge.
    narrow = [network for network in taken if network.prefixlen >= 16]
    for _ in range(1000):
        subnet = f"10.{random.randrange(128, 256)}.{random.randrange(256)}"
        if not any(network.overlaps(ipaddress.ip_network(f"{subnet}.0/24")) for network in narrow):
            return subnet
    raise ToolError("no /24 inside 10.128.0.0/9 is free on this machine")


def _remove(directory: Path) -> None:
    """A cluster's mounts, bridge and files."""
    unmount(mounts_under(directory))
    if Path("/sys/class/net", directory.name).exists():
        call("ip", "link", "del", directory.name)
    shutil.rmtree(directory)


@contextmanager
def _locked() -> Iterator[None]:
    """Nobody else makes or clears clusters meanwhile."""
    with (base() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
