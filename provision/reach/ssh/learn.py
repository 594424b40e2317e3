"""Host keys that nobody has confirmed yet: shown to whoever may confirm them, and written down only then."""

import base64
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from provision.errors import InputError, RemoteError, UnknownHostKeyError
from provision.hosts import Host
from provision.reach.ssh.connect import shake_hands
from provision.reach.ssh.known_hosts import describe
from provision.reach.ssh.proxy import Proxy
from provision.reach.ssh.resolve import Resolved, resolve

Confirm = Callable[[Resolved, Sequence[bytes]], Sequence[bytes]]
"""Given a host and the keys its server shows, in wire form: those that are confirmed to be the host's."""

# A server shows one key per connection, the first of these kinds that both sides know.
_KINDS = ("ssh-ed25519", "ecdsa-sha2-", "rsa-sha2-")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}(?![A-Za-z0-9+/])")


def learn_host_key(host: Host, config: Path, confirm: Confirm) -> tuple[str, ...]:
    """Ask for confirmation of the keys of a host of which none is known, and add those confirmed to known_hosts.

    Returns what was added, type and fingerprint. Raises UnknownHostKeyError when none was confirmed, RemoteError when
    the server cannot be reached, InputError when there is no file to add to.
    """
    resolved = resolve(host, config)
    file = _file_of(resolved)
    shown = _shown_keys(resolved)
    confirmed = [key for key in confirm(resolved, shown) if key in shown]
    if not confirmed:
        listed = ", ".join(describe(key) for key in shown)
        raise UnknownHostKeyError(
            f"{host.name}: nobody confirmed a key of the server at {resolved.address}, which shows {listed}; compare "
            "that on the host, and say yes to it in 'shardfleet provision --install-key' at a terminal, or list the "
            "fingerprint in a file for --host-key-fingerprints"
        )
    _append(file, [_line(resolved, key) for key in confirmed])
    return tuple(describe(key) for key in confirmed)


def read_fingerprints(path: Path) -> frozenset[str]:
    """The SHA256 fingerprints in a file, such as lines of `ssh-keygen -lf`; what follows a '#' does not count.

    Raises InputError when the file cannot be read, or there is none in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}; give a text file of SHA256:… fingerprints") from error
    found = frozenset(_FINGERPRINT.findall("\n".join(line.partition("#")[0] for line in text.splitlines())))
    if not found:
        raise InputError(
            f"{path}: holds no fingerprint; write what 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' prints on "
            "each host, one a line"
        )
    return found


def fingerprint(key: bytes) -> str:
    """As ssh prints it: `SHA256:…`."""
    return describe(key).rpartition(" ")[2]


def _shown_keys(host: Resolved) -> tuple[bytes, ...]:
    """One key of each kind that the server has, in wire form. Raises RemoteError when it shows none at all."""
    found: list[bytes] = []
    failure: RemoteError | None = None
    for kind in _KINDS:
        try:
            found.append(_shown_key(host, kind))
        except RemoteError as error:
            if not isinstance(error.__cause__, IncompatiblePeer):
                raise
            failure = error  # it has no key of that kind
    if failure is not None and not found:
        raise failure
    return tuple(found)


def _shown_key(host: Resolved, kind: str) -> bytes:
    proxy = Proxy(host.proxy_command) if host.proxy_command is not None else None
    try:
        transport = shake_hands(host, proxy, lambda offered: tuple(name for name in offered if name.startswith(kind)))
        try:
            return bytes(transport.get_remote_server_key().asbytes())
        finally:
            transport.close()
    finally:
        if proxy is not None:
            proxy.close()


def _file_of(host: Resolved) -> Path:
    """The known_hosts file ssh would add to: the user's first."""
    file = host.known_hosts_files[0] if host.known_hosts_files else Path(os.devnull)
    if str(file) == os.devnull or not file.is_absolute():
        raise InputError(
            f"{host.name}: ssh has no known_hosts file to keep its key in ({file}); set UserKnownHostsFile in your ssh "
            "config"
        )
    return file


def _line(host: Resolved, key: bytes) -> str:
    name = paramiko.HostKeys.hash_host(host.known_as) if host.hash_known_hosts else host.known_as
    kind = describe(key).partition(" ")[0]
    return f"{name} {kind} {base64.b64encode(key).decode()}\n"


def _append(file: Path, lines: Sequence[str]) -> None:
    """Add lines to a file that others may be adding to: in one write, each on a line of its own."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as handle:
            size = os.fstat(descriptor).st_size
            unfinished = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            handle.write(("\n" * unfinished + "".join(lines)).encode())
            os.fsync(descriptor)
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}; the host's key must be kept there") from error
