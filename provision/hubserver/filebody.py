"""Sending a file or one byte range of it."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import anyio
from anyio.to_thread import run_sync
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from provision.hubserver.faults import Fault

CHUNK = 1024 * 1024
"""Bytes per read and per write."""


class UnsatisfiableRangeError(ValueError):
    """A Range header that names no byte of the file."""


@dataclass(frozen=True)
class Span:
    """Bytes of a file."""

    start: int
    """First byte, inclusive."""
    stop: int
    """End, exclusive."""


def parse_range(header: str | None, size: int) -> Span | None:
    """The span a Range header asks for in a file of `size` bytes; None means the whole file.

    One range in bytes is understood. Several at once, or another unit, are answered with the whole file, as RFC 9110
    section 14.2 allows.

    Raises:
        UnsatisfiableRangeError: malformed, or outside the file.
    """
    if header is None or not header.startswith("bytes=") or "," in header:
        return None
    match = re.fullmatch(r"bytes=\s*(\d*)-(\d*)\s*", header, re.ASCII)
    if match is None or match.groups() == ("", ""):
        raise UnsatisfiableRangeError(header)
    first, last = match.groups()
    if first == "":
        span = Span(max(0, size - int(last)), size)
    else:
        if last and int(last) < int(first):
            raise UnsatisfiableRangeError(header)
        span = Span(int(first), min(int(last) + 1, size) if last else size)
    if span.start >= span.stop:
        raise UnsatisfiableRangeError(header)
    return span


class FileSpanResponse(Response):
    """A 200 with a whole file, or a 206 with one span of it. HEAD gets the same headers and no body."""

    def __init__(
        self,
        file: str,
        size: int,
        span: Span | None,
        *,
        headers: Mapping[str, str],
        fault: Fault | None,
        on_sent: Callable[[int], None] | None,
    ) -> None:
        """Size is what is claimed for the file, in bytes; on_sent, if any, gets the bytes of each write."""
        self._file = file
        self._span = span or Span(0, size)
        self._fault = fault
        self._on_sent = on_sent
        super().__init__(status_code=206 if span else 200, media_type="application/octet-stream", headers=dict(headers))
        self.headers["Content-Length"] = str(self._span.stop - self._span.start)
        self.headers["Accept-Ranges"] = "bytes"
        if span:
            self.headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        descriptor = await run_sync(os.open, self._file, os.O_RDONLY)
        try:
            # Writes to a connection the client closed vanish silently, so the hang-up must be listened for.
            async with anyio.create_task_group() as group:

                async def stop_on_hangup() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    group.cancel_scope.cancel()

                group.start_soon(stop_on_hangup)
                await send(start)
                await self._send_body(descriptor, send)
                group.cancel_scope.cancel()
        finally:
            os.close(descriptor)

    async def _send_body(self, descriptor: int, send: Send) -> None:
        fault, stop = self._fault, self._span.stop
        pause = self._span.start + fault.after if fault and fault.kind in ("cut", "stall") else None
        position = self._span.start
        while position < stop:
            if fault and position == pause:
                if fault.kind == "cut":
                    return  # the server closes a connection whose answer was left unfinished
                await anyio.sleep(fault.seconds)
            end = min(position + CHUNK, stop)
            if pause is not None and position < pause:
                end = min(end, pause)
            data = await run_sync(os.pread, descriptor, end - position, position)
            if not data:
                return  # the file shrank: an unfinished answer is better than an invented one
            if fault and fault.kind == "corrupt":
                data = corrupted(data, position, fault)
            position += len(data)
            await send({"type": "http.response.body", "body": data, "more_body": position < stop})
            if self._on_sent:
                self._on_sent(len(data))
        if self._span.start == self._span.stop:
            await send({"type": "http.response.body", "body": b""})


def corrupted(data: bytes, position: int, fault: Fault) -> bytes:
    """Data from file position `position`, with the bits flipped where the fault says."""
    low, high = max(fault.offset - position, 0), min(fault.offset + fault.length - position, len(data))
    return data if low >= high else data[:low] + bytes(byte ^ 0xFF for byte in data[low:high]) + data[high:]
