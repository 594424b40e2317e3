"""The Channel over SSH: the one module that uses paramiko.

ssh itself says where and as whom to connect (`resolve`) and ssh-keygen which host keys are known (`known_keys`);
paramiko connects, signs in, copies files and runs commands. A key nobody knows is refused, never learned.
"""

import base64
import binascii
import errno
import logging
import posixpath
import secrets
import socket
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.pkey import UnknownKeyType

from provision.channel import Completed
from provision.errors import RemoteError
from provision.hosts import Host
from provision.quoting import remote_command
from provision.ssh.known_hosts import KnownKeys, check_key, known_keys
from provision.ssh.proxy import Proxy
from provision.ssh.resolve import Resolved, resolve

# Without a handler its threads would print tracebacks of failures that are reported here.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_REPLY_SECONDS = 60.0
"""How long one answer of a server may take: in the handshake, in SFTP."""
_PROBE_SECONDS = 5.0
"""How long, after something failed, a server may take to show that it is still there."""
_PEER_FAILED = (paramiko.SSHException, EOFError, OSError)


class SshChannel:
    """See Channel. Connects at construction and raises RemoteError, with a remedy, when that fails."""

    def __init__(self, host: Host, config: Path) -> None:
        self._host = host
        self._home: str | None = None
        self._sftp_client: paramiko.SFTPClient | None = None
        resolved = resolve(host, config)
        known = known_keys(resolved)
        self._proxy = Proxy(resolved.proxy_command) if resolved.proxy_command is not None else None
        try:
            self._transport = _connect(resolved, self._proxy, known)
        except BaseException:
            if self._proxy is not None:
                self._proxy.close()
            raise

    @property
    def host(self) -> Host:
        return self._host

    def home(self) -> str:
        if self._home is None:
            # Asked of the shell, whose ~ it is. On a line of its own, last: a start-up file may have printed before.
            answer = self.run(["/bin/sh", "-c", 'printf "\\n%s\\n" "$HOME"'], timeout=_REPLY_SECONDS)
            home = answer.stdout.decode(errors="surrogateescape").removesuffix("\n").rpartition("\n")[2]
            if answer.returncode != 0 or not home.startswith("/"):
                raise RemoteError(f"{self._host.name}: its shell knows no home directory; set HOME there")
            self._home = home
        return self._home

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        target = self._path(path)
        parent = posixpath.dirname(target)
        with self._failures(f"write {path}"):
            sftp = self._sftp()
            _make_parents(sftp, parent)
            # A directory only the user may enter: the file cannot be opened by others before its mode is set.
            scratch = posixpath.join(parent, f".shardfleet-{secrets.token_hex(8)}")
            part = posixpath.join(scratch, "part")
            sftp.mkdir(scratch, 0o700)
            try:
                with sftp.open(part, "wx") as file:
                    file.chmod(mode)
                    file.set_pipelined(True)
                    file.write(data)
                # Pipelined writes report nothing: a full disk shows in the size.
                if (written := sftp.stat(part).st_size) != len(data):
                    raise OSError(errno.EIO, f"{written} of {len(data)} bytes arrived; is the disk full?")
                sftp.posix_rename(part, target)
            finally:
                with suppress(*_PEER_FAILED):
                    sftp.remove(part)
                with suppress(*_PEER_FAILED):
                    sftp.rmdir(scratch)

    def get(self, path: str) -> bytes:
        target = self._path(path)
        with self._failures(f"read {path}", missing_is_ours=False), self._sftp().open(target, "rb") as file:
            file.prefetch()
            return file.read()

    def remove(self, path: str) -> None:
        target = self._path(path)
        with self._failures(f"remove {path}"), suppress(FileNotFoundError):
            self._sftp().remove(target)

    def run(self, argv: Sequence[str], *, timeout: float, stdin: bytes = b"") -> Completed:
        command = remote_command(argv)
        too_long = RemoteError(
            f"{self._host.name}: {command[:200]} did not end within {timeout:g} s; it may still be running there"
        )
        expired = threading.Event()
        stderr = bytearray()
        deadline = time.monotonic() + timeout
        with self._failures(f"run {command[:200]}"):
            try:
                session = self._transport.open_session(timeout=timeout)
            except paramiko.SSHException:
                if time.monotonic() < deadline:
                    raise
                raise too_long from None

            def expire() -> None:
                expired.set()
                session.close()

            # Closing the session wakes every reader and writer, whatever it waits for.
            timer = threading.Timer(deadline - time.monotonic(), expire)
            helpers = [
                threading.Thread(target=_drain_stderr, args=(session, stderr), daemon=True),
                threading.Thread(target=_feed_stdin, args=(session, stdin), daemon=True),
            ]
            timer.start()
            try:
                session.exec_command(command)
                for helper in helpers:
                    helper.start()
                stdout = b"".join(iter(lambda: session.recv(1 << 16), b""))
                for helper in helpers:
                    helper.join()
                returncode = session.recv_exit_status()
            except _PEER_FAILED:
                if not expired.is_set():
                    raise
            finally:
                timer.cancel()
                session.close()
        if expired.is_set():
            raise too_long
        # -1 says no more than that no exit code came: a signal on the host, or the end of the connection.
        if returncode == -1 and not self._alive():
            raise RemoteError(f"{self._host.name}: the connection was lost while {command[:200]} ran; try again")
        return Completed(returncode, stdout, bytes(stderr))

    def close(self) -> None:
        self._transport.close()
        if self._proxy is not None:
            self._proxy.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _path(self, path: str) -> str:
        return posixpath.join(self.home(), path[2:] if path.startswith("~/") else path)

    def _sftp(self) -> paramiko.SFTPClient:
        if self._sftp_client is None:
            session = self._transport.open_session()
            session.settimeout(_REPLY_SECONDS)
            session.invoke_subsystem("sftp")
            self._sftp_client = paramiko.SFTPClient(session)
        return self._sftp_client

    def _alive(self) -> bool:
        """Whether the server still answers. `is_active()` alone lags behind: channels learn of an end before it."""
        try:
            self._transport.open_session(timeout=_PROBE_SECONDS).close()
        except paramiko.ChannelException:
            return True  # it answered, if with a refusal
        except _PEER_FAILED:
            return False
        return True

    @contextmanager
    def _failures(self, deed: str, *, missing_is_ours: bool = True) -> Iterator[None]:
        try:
            yield
        except _PEER_FAILED as error:
            if isinstance(error, FileNotFoundError) and not missing_is_ours:
                raise
            reason = _reason(error) if self._alive() else "the connection was lost; try again"
            raise RemoteError(f"{self._host.name}: cannot {deed}: {reason}") from error


def _connect(host: Resolved, proxy: Proxy | None, known: KnownKeys) -> paramiko.Transport:
    """A connection to a server that showed a known key, signed in."""
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
            f"{host.name}: cannot connect to {host.address}: {_reason(error)}; is it up, and its sshd on that port?"
        ) from error
    transport = paramiko.Transport(wire)
    try:
        transport.banner_timeout = host.connect_timeout
        transport.handshake_timeout = _REPLY_SECONDS
        transport.auth_timeout = _REPLY_SECONDS
        transport.channel_timeout = _REPLY_SECONDS
        options = transport.get_security_options()
        options.key_types = _preferring(options.key_types, known)
        try:
            transport.start_client()
        except _PEER_FAILED as error:
            said = proxy.complaint() if proxy else ""
            raise RemoteError(
                f"{host.name}: no SSH handshake with {host.address}: {said or _reason(error)}; "
                f"does 'ssh -F {host.config} {host.name}' work?"
            ) from error
        check_key(host, transport.get_remote_server_key().asbytes(), known)
        _sign_in(transport, host)
        transport.set_keepalive(30)
    except BaseException:
        transport.close()
        raise
    return transport


def _preferring(offered: Sequence[str], known: KnownKeys) -> tuple[str, ...]:
    """The signature algorithms, those of known keys first: else a server shows a key of a type nobody noted."""
    # An ssh-rsa key signs with rsa-sha2-512 or -256; for all others key type and algorithm share a name.
    # sorted() is stable: within known and unknown, paramiko's order stays.
    return tuple(sorted(offered, key=lambda it: ("ssh-rsa" if it.startswith("rsa-") else it) not in known.key_types))


def _sign_in(transport: paramiko.Transport, host: Resolved) -> None:
    keys, remarks = _identities(host)
    where = f"{host.user}@{host.hostname} port {host.port}"
    tried = []
    for key, origin in keys:
        tried.append(origin)
        try:
            missing = transport.auth_publickey(host.user, key)
        except paramiko.BadAuthenticationType as error:
            accepted = ", ".join(error.allowed_types)
            raise RemoteError(f"{host.name}: {where} accepts {accepted} only; allow it public keys") from error
        except paramiko.SSHException as error:
            if not transport.is_active():
                raise RemoteError(
                    f"{host.name}: {where} hung up after {len(tried)} keys ({', '.join(tried)}): {_reason(error)}; "
                    f"name the right one with IdentityFile and IdentitiesOnly in your ssh config"
                ) from error
            continue
        if missing:
            raise RemoteError(f"{host.name}: {where} wants {', '.join(missing)} besides a key; a key must do there")
        return
    offered = f"accepts none of the keys {', '.join(tried)}" if tried else "asks for a key and there is none to offer"
    notes = "".join(f"; {remark}" for remark in remarks)
    raise RemoteError(
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
        except _PEER_FAILED as error:
            remarks.append(f"the ssh agent does not answer ({_reason(error)})")
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
            remarks.append(f"{file} cannot be used ({_reason(error)})")
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


def _drain_stderr(session: paramiko.Channel, into: bytearray) -> None:
    with suppress(*_PEER_FAILED):
        while chunk := session.recv_stderr(1 << 16):
            into += chunk


def _feed_stdin(session: paramiko.Channel, data: bytes) -> None:
    # A command need not read what it is given: that its end is closed is no failure.
    with suppress(*_PEER_FAILED):
        session.sendall(data)
        session.shutdown_write()


def _make_parents(sftp: paramiko.SFTPClient, directory: str) -> None:
    try:
        mode = sftp.stat(directory).st_mode
    except FileNotFoundError:
        _make_parents(sftp, posixpath.dirname(directory))
        # Someone else may have been quicker.
        with suppress(OSError):
            sftp.mkdir(directory, 0o700)
        mode = sftp.stat(directory).st_mode
    if mode is None or not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, f"{directory} is not a directory")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
