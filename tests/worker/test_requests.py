"""shard/host/requests.py: changes of a running host's share."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shard.errors import JobError
from shard.host.requests import (
    SOCKET_NAME,
    Answer,
    AnyRequest,
    Release,
    Take,
    ask,
    decode_answer,
    encode_request,
    listening,
)
from shard.records.unit import Unit

UNIT = Unit(ordinal=7, path="a.parquet", size=9, content_id="x")


@contextmanager
def answering(directory: Path, heard: list[AnyRequest]) -> Iterator[None]:
    """A supervisor's end that answers every request with its number, and refuses number 13."""

    async def answer(request: AnyRequest) -> Answer:
        heard.append(request)
        if request.number == 13:
            raise JobError("an unlucky number")
        return [request.number]

    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        with listening(directory, answer):
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("request_", [Release(number=1, bytes=1 << 30), Take(number=2, units=(UNIT,) * 1000)])
def test_requests_are_answered(request_: AnyRequest, tmp_path: Path) -> None:
    """What is asked arrives as it is, however long, and the answer comes back."""
    heard: list[AnyRequest] = []
    with answering(tmp_path, heard):
        assert decode_answer(ask(tmp_path, encode_request(request_))) == [request_.number]
    assert heard == [request_]


def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    """A socket's address is short; the job directory's path need not be."""
    directory = tmp_path / ("d" * 120) / ("h" * 253)
    directory.mkdir(parents=True)
    with answering(directory, []):
        assert decode_answer(ask(directory, encode_request(Release(number=3, bytes=1)))) == [3]


def test_nobody_else_may_ask(tmp_path: Path) -> None:
    """The socket is the user's own, whatever the umask is."""
    before = os.umask(0)
    try:
        with answering(tmp_path, []):
            assert (tmp_path / SOCKET_NAME).stat().st_mode & 0o777 == 0o600
            assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert not (tmp_path / SOCKET_NAME).exists()


@pytest.mark.parametrize(
    "request_", [b"", b"{", b'{"request": "shutdown"}', encode_request(Release(number=13, bytes=1))]
)
def test_what_is_not_taken_in_is_an_error(request_: bytes, tmp_path: Path) -> None:
    """Who asks what cannot be read, or is refused, learns that it was not taken in; the next request is answered."""
    with answering(tmp_path, []):
        with pytest.raises(JobError, match="not taken the request in"):
            ask(tmp_path, request_)
        assert decode_answer(ask(tmp_path, encode_request(Release(number=4, bytes=1)))) == [4]


def test_no_supervisor(tmp_path: Path) -> None:
    """Without a supervisor the error names the place; one that was killed leaves a socket that is no hindrance."""
    with pytest.raises(JobError, match=SOCKET_NAME):
        ask(tmp_path, b"{}")
    (tmp_path / SOCKET_NAME).touch()
    with pytest.raises(JobError, match="no supervisor answers"):
        ask(tmp_path, b"{}")
    with answering(tmp_path, []):
        assert decode_answer(ask(tmp_path, encode_request(Release(number=5, bytes=1)))) == [5]
