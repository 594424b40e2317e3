"""A connection to a host, signed in: by its known key, with the keys that ssh would offer."""

import base64
import binascii
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.pkey import UnknownKeyType

from provision.errors import RemoteError, SignInError
from provision.reach.ssh.known_hosts import KnownKeys, check_key
from provision.reach.ssh.proxy import Proxy
from provision.reach.ssh.resolve import Resolved

# Without a handler its threads would print tracebacks of failures that are reported here.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

REPLY_SECONDS = 60.0
"""How long one answer of a server may take: in the handshake, in SFTP."""

PEER_FAILED = (paramiko.SSHException, EOFError, OSError)
"""What paramiko raises when the other side or the way to it fails."""


SignIn = Callable[[paramiko.Transport, Resolved], None]
"""Signs in over a connection whose host key has been checked. Raises SignInError when that is refused."""


def connect(host: Resolved, proxy: Proxy | None, known: KnownKeys, sign_in: SignIn) -> paramiko.Transport:
    """A connection to a server that showed a known key, signed in."""
    transport = shake_hands(host, proxy, lambda offered: _preferring(offered, known))
    try:
        check_key(host, transport.get_remote_server_key().asbytes(), known)
        sign_in(transport, host)
        transport.set_keepalive(30)
    except BaseException:
        transport.close()
        raise
    return transport


def shake_hands(
    host: Resolved, proxy: Proxy | None, algorithms: Callable[[Sequence[str]], tuple[str, ...]]
) -> paramiko.Transport:
    """A connection to whatever server is there: its key is not checked and nobody is signed in.

    `algorithms` chooses and orders the host key algorithms that are asked for.
    """
    try:
        if proxy is not None:
            wire = proxy.socket
        else:
            # Each address of the name is tried in turn, and the timeout counts for each.
            wire = socket.create_connection((host.hostname, host.port), host.connect_timeout)
            # SSH's small requests else wait for the acknowledgement of the one before: 40 ms apiece on Linux.
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise RemoteError(
            f"{host.name}: cannot connect to {host.address}: {reason_of(error)}; is it up, and its sshd on that port?"
        ) from error
    transport = paramiko.Transport(wire)
    try:
        transport.banner_timeout = host.connect_timeout
        transport.handshake_timeout = REPLY_SECONDS
        transport.auth_timeout = REPLY_SECONDS
        transport.channel_timeout = REPLY_SECONDS
        options = transport.get_security_options()
        options.key_types = algorithms(options.key_types)
        try:
            transport.start_client()
        except PEER_FAILED as error:
            said = proxy.complaint() if proxy else ""
            raise RemoteError(
                f"{host.name}: no SSH handshake with {host.address}: {said or reason_of(error)}; "
                f"does 'ssh -F {host.config} {host.name}' work?"
            ) from error
    except BaseException:
        transport.close()
        raise
    return transport


def _preferring(offered: Sequence[str], known: KnownKeys) -> tuple[str, ...]:
    """The signature algorithms, those of known keys first: else a server shows a key of a type nobody noted."""
    # An ssh-rsa key signs with rsa-sha2-512 or -256; for all others key type and algorithm share a name.
    # sorted() is stable: within known and unknown, paramiko's order stays.
    return tuple(sorted(offered, key=lambda it: ("ssh-rsa" if it.startswith("rsa-") else it) not in known.key_types))


def sign_in_with_keys(transport: paramiko.Transport, host: Resolved) -> None:
    """As ssh would: with the keys that the config names, and those of the agent."""
    keys, remarks = _identities(host)
    where = f"{host.user}@{host.hostname} port {host.port}"
    tried = []
    for key, origin in keys:
        tried.append(origin)
        try:
            missing = transport.auth_publickey(host.user, key)
        except paramiko.BadAuthenticationType as error:
            accepted = ", ".join(error.allowed_types)
            raise SignInError(f"{host.name}: {where} accepts {accepted} only; allow it public keys") from error
        except paramiko.SSHException as error:
            if not transport.is_active():
                raise SignInError(
                    f"{host.name}: {where} hung up after {len(tried)} keys ({', '.join(tried)}): {reason_of(error)}; "
                    f"name the right one with IdentityFile and IdentitiesOnly in your ssh config"
                ) from error
            continue
        if missing:
            raise SignInError(f"{host.name}: {where} wants {', '.join(missing)} besides a key; a key must do there")
        return
    offered = f"accepts none of the keys {', '.join(tried)}" if tried else "asks for a key and there is none to offer"
    notes = "".join(f"; {remark}" for remark in remarks)
    raise SignInError(
        f"{host.name}: {where} {offered}{notes}; add the .pub of one to ~/.ssh/authorized_keys there, "
        f"or name another with IdentityFile in your ssh config"
    )


def _identities(host: Resolved) -> tuple[list[tuple[paramiko.PKey, str]], list[str]]:
    """The keys to offer, each with where it is from, and remarks on those that cannot be.

    Servers hang up after a few keys, so those that were named come before whatever else the agent holds.
    """
    agent: list[tuple[paramiko.PKey, str]] = []
    remarks: list[str] = []
    if host.use_agent:
        try:
            agent = [(key, f"{key.comment or key.get_name()} (agent)") for key in paramiko.Agent().get_keys()]
        except PEER_FAILED as error:
            remarks.append(f"the ssh agent does not answer ({reason_of(error)})")
    named: list[tuple[paramiko.PKey, str]] = []
    for file in host.identity_files:
        public = _public_key(file)
        held = [entry for entry in agent if public is not None and entry[0].asbytes() == public]
        if held:
            named += held
            continue
        try:
            named.append((paramiko.PKey.from_path(file), str(file)))
        except FileNotFoundError:
            continue
        except (TypeError, paramiko.PasswordRequiredException):
            remarks.append(f"{file} has a passphrase: run 'ssh-add {file}'")
        except (ValueError, UnsupportedAlgorithm, paramiko.SSHException, UnknownKeyType, OSError) as error:
            remarks.append(f"{file} cannot be used ({reason_of(error)})")
    if not host.identities_only:
        named += [entry for entry in agent if entry not in named]
    return named, remarks


def _public_key(file: Path) -> bytes | None:
    """The public half of an identity file, in wire form. `IdentityFile x.pub` means a key that the agent holds."""
    for candidate in (Path(f"{file}.pub"), file):
        try:
            words = candidate.read_bytes().split()
            if len(words) > 1 and words[0].startswith((b"ssh-", b"ecdsa-", b"sk-")):
                return base64.b64decode(words[1], validate=True)
        except (OSError, binascii.Error):
            continue
    return None


def reason_of(error: Exception) -> str:
    """Why, in words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
