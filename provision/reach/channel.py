"""What the launcher needs of a host, whether reached over SSH or being this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from provision.hosts import Host


@dataclass(frozen=True)
class Completed:
    """A command that ended."""

    returncode: int
    """Exit code; 127 when there is no such command. After a signal, 128 plus its number, or -1 where it is unknown."""
    stdout: bytes
    stderr: bytes


class Channel(Protocol):
    """Files and commands on one host. One thread at a time.

    A path is absolute, or relative to the home directory of the user there, with or without a leading `~/`.
    Every method raises RemoteError, naming the host, when the host or the connection fails it.
    """

    @property
    def host(self) -> Host: ...

    def home(self) -> str:
        """The home directory that `~/` stands for in paths and in arguments of `run`."""
        ...

    def put(self, data: bytes, path: str, *, mode: int = 0o600) -> None:
        """Write a file whole or not at all, replacing an older one.

        At no moment can someone read it whom `mode` does not allow to. Missing parents are made with mode 0700.
        """
        ...

    def get(self, path: str) -> bytes:
        """The bytes of a file. Raises FileNotFoundError when there is none."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file; a missing one is fine."""
        ...

    def run(self, argv: Sequence[str], *, timeout: float, stdin: bytes = b"") -> Completed:
        """Run a command in the home directory and wait for its end and the end of its output.

        Each argument arrives as it is; one that starts with `~/` is a path under the home directory.
        Raises RemoteError after `timeout` seconds. Over SSH the command may then still be running: who needs
        it gone runs another that stops it.
        """
        ...

    def rest(self, seconds: float) -> None:
        """Do nothing for so long, with the connection kept, at next to no cost."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
