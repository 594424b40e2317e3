"""The Channel to this machine: files and processes, no SSH."""

import errno
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from provision.errors import RemoteError
from provision.hosts import Host
from provision.reach.channel import Channel, Completed
from provision.reach.quoting import remote_command


class LocalChannel(Channel):
    """See Channel."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def host(self) -> Host:
        return self._host

    def home(self) -> str:
        return str(Path.home())

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        with self._failures(f"write {path}"):
            target = self._path(path)
            _make_parents(target.parent)
            # A directory only we may enter: the file cannot be opened by others before its mode is set.
            with tempfile.TemporaryDirectory(prefix=".shardfleet-", dir=target.parent) as scratch:
                part = Path(scratch, "part")
                with part.open("wb") as file:
                    os.fchmod(file.fileno(), mode)
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(target)

    def get(self, path: str) -> bytes:
        with self._failures(f"read {path}", missing_is_ours=False):
            return self._path(path).read_bytes()

    def remove(self, path: str) -> None:
        with self._failures(f"remove {path}"):
            self._path(path).unlink(missing_ok=True)

    def run(self, argv: Sequence[str], *, timeout: float, stdin: bytes = b"") -> Completed:
        command = remote_command(argv)
        with (
            self._failures(f"run {command[:200]}"),
            # A session of its own: a Ctrl+C at the terminal is the launcher's to answer, not this command's.
            subprocess.Popen(
                ["/bin/sh", "-c", command],
                cwd=self.home(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            ) as process,
        ):
            try:
                stdout, stderr = process.communicate(stdin, timeout)
            except subprocess.TimeoutExpired:
                raise RemoteError(
                    f"{self._host.name}: {command[:200]} did not end within {timeout:g} s and was killed"
                ) from None
            finally:
                if process.returncode is None:
                    _kill(process)
        return Completed(process.returncode if process.returncode >= 0 else -1, stdout, stderr)

    def rest(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        """Nothing is held open."""

    def _path(self, path: str) -> Path:
        home = Path.home()
        return home / path[2:] if path.startswith("~/") else home / path

    @contextmanager
    def _failures(self, deed: str, *, missing_is_ours: bool = True) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not missing_is_ours:
                raise
            reason = error.strerror or str(error)
            raise RemoteError(f"{self._host.name}: cannot {deed}: {reason}") from error


def _make_parents(directory: Path) -> None:
    if not directory.is_dir():
        _make_parents(directory.parent)
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        if not directory.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # Its pipes are closed, not drained: a grandchild that left the group could hold them open for ever.
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    process.wait()
