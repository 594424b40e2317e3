"""Changes of a running host's share: asked by the launcher through a socket of the supervisor in its job directory.

A request has a number, so that one whose answer was lost can be made again without being taken in twice.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from shard.errors import JobError, ShardError
from shard.records.unit import Unit

log = logging.getLogger(__name__)

SOCKET_NAME = "supervisor.sock"
_ANSWER_SECONDS = 30.0
_LONGEST_REQUEST = 64 << 20
"""Bytes: more units than any plan gives one host."""


class Request(msgspec.Struct, frozen=True, kw_only=True, tag_field="request", forbid_unknown_fields=True):
    """Base of all requests."""

    number: int
    """Counted from 1 for each start of the supervisor."""


class Release(Request, frozen=True, kw_only=True, tag="release"):
    """Give up units that no rank has begun, the last first, until they come to so many bytes of source."""

    bytes: int


class Take(Request, frozen=True, kw_only=True, tag="take"):
    """Do these, too."""

    units: tuple[Unit, ...]


AnyRequest = Release | Take

Answer = list[int]
"""Ordinals released, or taken and not there before."""

_request = msgspec.json.Decoder(AnyRequest)
_answer = msgspec.json.Decoder(Answer)


@contextmanager
def listening(job_directory: Path, answer: Callable[[AnyRequest], Awaitable[Answer]]) -> Iterator[asyncio.Task[None]]:
    """Answer requests until the block ends. The socket is open to this user alone."""
    with _short_path(job_directory) as path, socket.socket(socket.AF_UNIX) as listener:
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108  of a supervisor that was killed
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen()
        listener.setblocking(False)
        task = asyncio.get_running_loop().create_task(_serve(listener, answer))
        try:
            yield task
        finally:
            task.cancel()
            with suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108


def ask(job_directory: Path, request: bytes) -> bytes:
    """Pass a request on to the running supervisor; returns its answer, both JSON.

    Raises JobError when there is none that answers, or it cannot read the request.
    """
    where = job_directory / SOCKET_NAME
    with _short_path(job_directory) as path, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(path)
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        except OSError as error:
            raise JobError(
                f"{where}: no supervisor answers there ({error.strerror or error}); is it running?"
            ) from error
    if not answer:
        raise JobError(f"{where}: the supervisor has not taken the request in; its stderr says why")
    return answer


def encode_request(request: AnyRequest) -> bytes:
    return msgspec.json.encode(request)


def decode_answer(answer: bytes) -> Answer:
    """Raises JobError when it is none."""
    try:
        return _answer.decode(answer)
    except msgspec.DecodeError as error:
        raise JobError(f"not an answer to a request: {error}") from error


async def _serve(listener: socket.socket, answer: Callable[[AnyRequest], Awaitable[Answer]]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        connection, _ = await loop.sock_accept(listener)
        reader, writer = await asyncio.open_connection(sock=connection, limit=_LONGEST_REQUEST)
        # One after the other: requests of one launcher come in order.
        try:
            request = _request.decode(await asyncio.wait_for(reader.read(-1), _ANSWER_SECONDS))
            writer.write(msgspec.json.encode(await answer(request)))
            await writer.drain()
        except (ConnectionError, TimeoutError, msgspec.DecodeError, ShardError) as error:
            log.warning("a request about the share was not taken in: %s", error or type(error).__name__)
        finally:
            writer.close()


@contextmanager
def _short_path(job_directory: Path) -> Iterator[str]:
    """The socket's path in a form that fits a socket's address, however long the directory's name is."""
    descriptor = os.open(job_directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)
