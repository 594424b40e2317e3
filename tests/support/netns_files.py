"""The files of a cluster of test hosts: keys, configs of both sides, names, and who lives where."""

import os
import pwd
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.support.netns_host import Host
from tests.support.netns_tools import call, sftp_server


def write_files(directory: Path, hosts: Mapping[str, Host], others: Mapping[str, str]) -> None:
    """Write all a cluster's hosts need before their first start; `others` are further names and their addresses."""
    for name in ("home", "homes"):
        (directory / name).mkdir(mode=0o700)
    _key(directory / "id", "launcher")
    shutil.copy(directory / "id.pub", directory / "authorized_keys")
    for host in hosts.values():
        _write_host(host)
    known = {**others, **{host.name: host.address for host in hosts.values()}}
    files = {
        "passwd": _passwd(directory / "home"),
        "hosts": "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in known.items()),
        # No name server can be reached from there: asking one would take its time-out.
        "resolv.conf": "# none\n",
        "known_hosts": "".join(f"{h.address} {(h.place / 'host_key.pub').read_text()}" for h in hosts.values()),
        "ssh_config": "".join(_client_block(directory, host) for host in hosts.values()),
    }
    for name, text in files.items():
        (directory / name).write_text(text)


def _write_host(host: Host) -> None:
    host.home.mkdir(mode=0o700)
    host.place.mkdir()
    _key(host.place / "host_key", host.name)
    (host.place / "sshd_config").write_text(
        f"ListenAddress {host.address}:22\n"
        f"HostKey {host.place}/host_key\n"
        # The second is for keys that a test installs as a user would.
        f"AuthorizedKeysFile {host.directory}/authorized_keys .ssh/authorized_keys\n"
        f"Subsystem sftp {sftp_server()}\n"
        f"PidFile {host.place}/sshd.pid\n"
        "StrictModes no\n"
        "UsePAM no\n"
        "UseDNS no\n"
        "PasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
        "PermitRootLogin yes\n"
        "PrintMotd no\n"
        "PrintLastLog no\n"
        "MaxStartups 500\n"
        "MaxSessions 500\n"
        "LogLevel VERBOSE\n"
    )


def _client_block(directory: Path, host: Host) -> str:
    return (
        f"Host {host.name}\n"
        f"  HostName {host.address}\n"
        f"  User {pwd.getpwuid(os.geteuid()).pw_name}\n"
        f"  IdentityFile {directory}/id\n"
        "  IdentitiesOnly yes\n"
        "  IdentityAgent none\n"
        f"  UserKnownHostsFile {directory}/known_hosts\n"
        "  GlobalKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking yes\n"
    )


def _passwd(home: Path) -> str:
    """The password database of a host: this machine's, but for its user's home."""
    user = pwd.getpwuid(os.geteuid())
    lines = [":".join(map(str, (user.pw_name, "x", user.pw_uid, user.pw_gid, user.pw_gecos, home, user.pw_shell)))]
    lines += [line for line in Path("/etc/passwd").read_text().splitlines() if line.split(":")[0] != user.pw_name]
    return "\n".join(lines) + "\n"


def _key(path: Path, comment: str) -> None:
    call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path)
