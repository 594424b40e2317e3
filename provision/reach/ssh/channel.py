"""The Channel over SSH: files and commands of one host, through paramiko.

ssh itself says where and as whom to connect (`resolve`) and ssh-keygen which host keys are known (`known_keys`);
paramiko connects, signs in, copies files and runs commands. A key nobody knows is refused, never learned.
"""

import errno
import posixpath
import secrets
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko

from provision.errors import RemoteError
from provision.hosts import Host
from provision.reach.channel import Channel, Completed
from provision.reach.quoting import remote_command
from provision.reach.ssh.connect import PEER_FAILED, REPLY_SECONDS, SignIn, connect, reason_of, sign_in_with_keys
from provision.reach.ssh.known_hosts import known_keys
from provision.reach.ssh.proxy import Proxy
from provision.reach.ssh.resolve import resolve

_PROBE_SECONDS = 5.0
"""How long, after something failed, a server may take to show that it is still there."""

_REST_LOOK_SECONDS = 5.0


class SshChannel(Channel):
    """See Channel. Connects at construction and raises RemoteError, with a remedy, when that fails."""

    def __init__(self, host: Host, config: Path, *, sign_in: SignIn = sign_in_with_keys) -> None:
        self._host = host
        self._home: str | None = None
        self._sftp_client: paramiko.SFTPClient | None = None
        resolved = resolve(host, config)
        known = known_keys(resolved)
        self._proxy = Proxy(resolved.proxy_command) if resolved.proxy_command is not None else None
        try:
            self._transport = connect(resolved, self._proxy, known, sign_in)
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
            answer = self.run(["/bin/sh", "-c", 'printf "\\n%s\\n" "$HOME"'], timeout=REPLY_SECONDS)
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
                with suppress(*PEER_FAILED):
                    sftp.remove(part)
                with suppress(*PEER_FAILED):
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
            except PEER_FAILED:
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

    def rest(self, seconds: float) -> None:
        # paramiko looks ten times a second for what it could notice late: of 256 connections, 7 % of a core.
        self._transport.sock.settimeout(_REST_LOOK_SECONDS)
        time.sleep(seconds)

    def close(self) -> None:
        self._transport.close()
        if self._proxy is not None:
            self._proxy.close()

    def _path(self, path: str) -> str:
        return posixpath.join(self.home(), path[2:] if path.startswith("~/") else path)

    def _sftp(self) -> paramiko.SFTPClient:
        if self._sftp_client is None:
            session = self._transport.open_session()
            session.settimeout(REPLY_SECONDS)
            session.invoke_subsystem("sftp")
            self._sftp_client = paramiko.SFTPClient(session)
        return self._sftp_client

    def _alive(self) -> bool:
        """Whether the server still answers. `is_active()` alone lags behind: channels learn of an end before it."""
        try:
            self._transport.open_session(timeout=_PROBE_SECONDS).close()
        except paramiko.ChannelException:
            return True  # it answered, if with a refusal
        except PEER_FAILED:
            return False
        return True

    @contextmanager
    def _failures(self, deed: str, *, missing_is_ours: bool = True) -> Iterator[None]:
        try:
            yield
        except PEER_FAILED as error:
            if isinstance(error, FileNotFoundError) and not missing_is_ours:
                raise
            reason = reason_of(error)
            if not self._alive():
                # What ended the connection is known to its own thread; those who used it see no more than the end.
                ended_by = self._transport.get_exception()
                reason = f"the connection was lost ({reason_of(ended_by or error)}); try again"
            raise RemoteError(f"{self._host.name}: cannot {deed}: {reason}") from error


def _drain_stderr(session: paramiko.Channel, into: bytearray) -> None:
    with suppress(*PEER_FAILED):
        while chunk := session.recv_stderr(1 << 16):
            into += chunk


def _feed_stdin(session: paramiko.Channel, data: bytes) -> None:
    # A command need not read what it is given: that its end is closed is no failure.
    with suppress(*PEER_FAILED):
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
