"""Receives the body of a response in few large pieces: to wake a thread for every packet costs more than the packet."""

import socket
from collections.abc import Iterator

import httpx2

_GULP_BYTES = 60_000
"""About what httpx reads at once."""
_PART = 16
"""Of the receive buffer, at most one such part is waited for."""
_MARGIN_BYTES = 32 << 10
"""More than TLS may hold back of a record that it has begun: never wait for bytes that have been taken already."""


def gulps(response: httpx2.Response, size: int) -> Iterator[bytes]:
    """A body of `size` bytes as it is on the wire, piece by piece."""
    stream = response.extensions.get("network_stream")
    own = None if stream is None else stream.get_extra_info("socket")
    awaited, left = 1, size
    # While the kernel still finds out how much to buffer, waiting for much would keep it from buffering more.
    most = 1 if own is None else min(_GULP_BYTES, own.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // _PART)
    try:
        for piece in response.iter_raw():
            left -= len(piece)
            # The kernel calls when so many bytes are there; at the end there will not be as many.
            wanted = max(1, min(left - _MARGIN_BYTES, most))
            if own is not None and wanted != awaited:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
                awaited = wanted
            yield piece
    finally:
        # The next answer on this connection may be short. A connection that was closed has no socket any more.
        if own is not None and awaited != 1 and own.fileno() >= 0:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
