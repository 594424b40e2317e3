"""ProxyCommand and ProxyJump: a connection that is a child process."""

import socket
import subprocess
import tempfile
from contextlib import suppress


class Proxy:
    """A running proxy command, its stdin and stdout being one socket.

    paramiko.ProxyCommand is not used: it spins on a command that ended, and hides what that wrote to stderr.
    """

    def __init__(self, command: str) -> None:
        self.socket, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close(), it lives as long as the process
        with theirs:
            self._process = subprocess.Popen(
                # As ssh starts it. A session of its own: Ctrl+C must not cut the connection an abort goes over.
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._stderr,
                start_new_session=True,
            )

    def complaint(self) -> str:
        """What the command wrote to stderr, once it ended; at most some hundred characters of it."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        self._stderr.seek(0)
        return " ".join(self._stderr.read(500).decode(errors="replace").split())

    def close(self) -> None:
        self.socket.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()
