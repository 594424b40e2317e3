"""Real OpenSSH servers on 127.0.0.1, standing in for the hosts of a cluster.

Each has its own port, host key, client identity, known_hosts and home directory. They share this machine's
processes and users: what needs hosts that cannot see each other takes network namespaces instead.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

START_SECONDS = 20.0
_COOKIE = "SHARDFLEET_TEST_SSHD"
_SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/lib/sftp-server",
)


@dataclass
class LoopbackHost:
    """One server. Its files lie in `directory`: `home/`, `host_key`, `id`, `known_hosts`, `sshd.log`."""

    name: str
    port: int
    directory: Path
    home: Path
    process: "subprocess.Popen[bytes]"

    @property
    def log(self) -> str:
        return (self.directory / "sshd.log").read_text(errors="replace")


@dataclass
class LoopbackHosts:
    """Running servers and `config`, an OpenSSH client config that knows them by name."""

    config: Path
    hosts: dict[str, LoopbackHost] = field(default_factory=dict)

    def stop(self, name: str) -> None:
        """Kill a server and all that runs in its sessions: the host is gone."""
        host = self.hosts[name]
        if host.process.poll() is None:
            # Held still first: its sessions are found by their parent, and it must not start another.
            host.process.send_signal(signal.SIGSTOP)
            self.kill_sessions(name)
            host.process.kill()
            host.process.wait()

    def kill_sessions(self, name: str) -> None:
        """Kill every connection and all that runs in it; the server goes on accepting new ones."""
        host = self.hosts[name]
        # Again until nothing is found: a process may be starting another while we look.
        # Connections go first, what runs in them after: nobody is left to report how a command ended.
        while pids := _descendants(host.process.pid) or _bearers(f"{_COOKIE}={host.directory}"):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextmanager
def loopback_hosts(
    directory: Path, names: Sequence[str], *, host_key_types: Sequence[str] = ("ed25519",)
) -> Iterator[LoopbackHosts]:
    """Servers for the given names, killed at the end with all that their sessions started.

    The first type of host key is the one in known_hosts; a key lies in `host_key_<type>`.
    Skips the test where OpenSSH's server is not installed.
    """
    sshd = shutil.which("sshd", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")
    sftp_server = next((path for path in _SFTP_SERVERS if os.access(path, os.X_OK)), None)
    if sshd is None or sftp_server is None or shutil.which("ssh") is None:
        pytest.skip("needs OpenSSH's server and client: apt install openssh-server openssh-client")
    if os.geteuid() == 0:
        # Where sshd runs as root it insists on this directory; distributions make it when the service starts.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    running = LoopbackHosts(config=directory / "ssh_config")
    directory.mkdir(parents=True, exist_ok=True)
    try:
        for name in names:
            running.hosts[name] = _start(directory / name, name, sshd, sftp_server, host_key_types)
        running.config.write_text("".join(_client_block(host) for host in running.hosts.values()))
        yield running
    finally:
        for name in running.hosts:
            running.stop(name)


def _client_block(host: LoopbackHost) -> str:
    return (
        f"Host {host.name}\n"
        f"  HostName 127.0.0.1\n"
        f"  Port {host.port}\n"
        f'  IdentityFile "{host.directory}/id"\n'
        f"  IdentitiesOnly yes\n"
        f"  IdentityAgent none\n"
        f'  UserKnownHostsFile "{host.directory}/known_hosts"\n'
        f"  GlobalKnownHostsFile /dev/null\n"
    )


def _start(directory: Path, name: str, sshd: str, sftp_server: str, host_key_types: Sequence[str]) -> LoopbackHost:
    home = directory / "home"
    home.mkdir(parents=True)
    for key, kind in {"id": "ed25519", **{f"host_key_{kind}": kind for kind in host_key_types}}.items():
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", directory / key], check=True)
    # Under a name without type, the one that known_hosts will hold.
    for suffix in ("", ".pub"):
        shutil.copy(directory / f"host_key_{host_key_types[0]}{suffix}", directory / f"host_key{suffix}")
    shutil.copy(directory / "id.pub", directory / "authorized_keys")
    # The session's home is that of the password database; here, every command is led to its own, and so is the login
    # shell before it: the start files of whoever runs the tests are no part of them, and may take their time.
    session = directory / "session.sh"
    session.write_text(
        f"#!/bin/sh\n"
        f"export HOME={shlex.quote(str(home))} {_COOKIE}={shlex.quote(str(directory))}\n"
        f'cd "$HOME" && exec /bin/sh -c "${{SSH_ORIGINAL_COMMAND:-exit 0}}"\n'
    )
    session.chmod(0o755)

    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        (directory / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{port}\n"
            + "".join(f'HostKey "{directory}/host_key_{kind}"\n' for kind in host_key_types)
            + f'AuthorizedKeysFile "{directory}/authorized_keys"\n'
            f'ForceCommand "{session}"\n'
            f'SetEnv "HOME={home}"\n'
            f"Subsystem sftp {sftp_server}\n"
            "PidFile none\n"
            "StrictModes no\n"
            "UsePAM no\n"
            "PasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\n"
            "PermitRootLogin yes\n"
            "PrintMotd no\n"
            "MaxStartups 500\n"
            "MaxSessions 500\n"
            "LogLevel VERBOSE\n"
        )
        command = [sshd, "-D", "-e", "-f", str(directory / "sshd_config")]
        # OpenSSH 9.8 and later shut out an address after failed logins; here all come from one address.
        if subprocess.run([*command, "-t", "-o", "PerSourcePenalties=no"], capture_output=True).returncode == 0:
            command += ["-o", "PerSourcePenalties=no"]
        with (directory / "sshd.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=directory
            )
        host = LoopbackHost(name=name, port=port, directory=directory, home=home, process=process)
        if _ready(host):
            kind, key = (directory / "host_key.pub").read_text().split()[:2]
            (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
            return host
        if "Address already in use" not in host.log:
            break
    pytest.fail(f"sshd for {name} did not start:\n{host.log}")


def _ready(host: LoopbackHost) -> bool:
    """Wait until the server greets; False when it ended instead."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", host.port), timeout=START_SECONDS) as connection:
                # A greeting, and from our server: someone else may have taken the port in between.
                if connection.recv(4) == b"SSH-" and host.process.poll() is None:
                    return True
        except OSError:
            pass
        # The pause between attempts is also the watch for a server that could not start.
        with suppress(subprocess.TimeoutExpired):
            host.process.wait(timeout=0.02)
            return False
    host.process.kill()
    host.process.wait()
    return False


def _descendants(root: int) -> list[int]:
    """Processes below one, parents before their children; without zombies."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        with suppress(OSError, ValueError):
            # The name in parentheses may hold anything; state and parent follow the last one.
            state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                children.setdefault(int(parent), []).append(pid)
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def _bearers(cookie: str) -> list[int]:
    """Processes whose environment holds the cookie: those that left their session and parent."""
    found = []
    for pid in _pids():
        # Zombies have no environment any more, and other users' processes are none of ours.
        with suppress(OSError):
            if os.fsencode(cookie) in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
