"""One OpenSSH client config per run, the same for pdsh, Ansible and our own connections."""

import os
import pwd
import re
from collections.abc import Sequence
from pathlib import Path

from provision.errors import InputError
from provision.hosts import Host
from shard.storage.disk import make_directory, write_atomic

_SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")

# ssh keeps the first value it finds. These come before the user's file: a prompt nobody sees would hang the run, a tty
# would keep the end of our stdin from the remote side, and one user's tunnels cannot be opened once per connection.
_OURS_ALONE = ("BatchMode yes", "RequestTTY no", "RemoteCommand none", "ClearAllForwardings yes")
# These come last: defaults, for who has chosen nothing.
_DEFAULTS = ("ServerAliveInterval 15", "ServerAliveCountMax 3", "ConnectTimeout 20")


def write_ssh_config(path: Path, hosts: Sequence[Host], *, user_config: Path | None) -> None:
    """Write the client config of a run (mode 0600, renamed into place).

    What hosts.txt says of user and port wins over the user's config, that over the system's, that over our defaults.
    `user_config` is the file to include; None means `~/.ssh/config` where it exists. Host key checking stays as the
    user has it.

    Raises InputError when `user_config` does not exist or its path cannot be written in a config, and DiskFullError.
    """
    if user_config is None:
        # The home of the password database, not of $HOME: the one ssh goes by.
        usual = Path(pwd.getpwuid(os.getuid()).pw_dir, ".ssh/config")
        included = [usual] if usual.is_file() else []
    elif user_config.is_file():
        included = [user_config.absolute()]
    else:
        raise InputError(f"{user_config}: no such ssh config; give a file that exists, or none for ~/.ssh/config")
    lines = ["# Written by shardfleet for one run; hosts.txt and your own ssh config are the places for changes."]
    for host in hosts:
        settings = [f"  User {host.user}"] if host.user is not None else []
        settings += [f"  Port {host.port}"] if host.port is not None else []
        if settings:
            lines += [f"Host {host.name}", *settings]
    # An Include inside a Host block counts only where the block matches, so everything else stands under 'Host *'.
    lines += ["Host *", *(f"  {setting}" for setting in _OURS_ALONE)]
    included += [_SYSTEM_CONFIG] if _SYSTEM_CONFIG.is_file() else []
    lines += [f"  Include {_include_word(file)}" for file in included]
    lines += [f"  {setting}" for setting in _DEFAULTS]

    make_directory(path.parent)
    write_atomic(path, ("\n".join(lines) + "\n").encode(), mode=0o600)


def _include_word(path: Path) -> str:
    """A path as Include takes it: quoted, and nothing in it a pattern."""
    text = str(path)
    if re.search(r"[\x00-\x1f\x7f\"%$]", text):
        raise InputError(f"{text!r}: a path with '\"', '%', '$' or control characters cannot be included; rename it")
    return '"' + re.sub(r"([*?\[\]])", r"\\\1", text.replace("\\", "\\\\\\\\")) + '"'
