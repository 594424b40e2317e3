"""Running the server in the foreground."""

import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from provision.errors import InputError
from provision.hubserver.app import create_app


class _Server(uvicorn.Server):
    """Tells when it accepts connections."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()


def serve(
    directory: Path,
    host: str,
    port: int,
    *,
    faults: bool = False,
    writable: bool = False,
    url_lifetime: float = 3600.0,
    on_ready: Callable[[str], None],
) -> None:
    """Serve a directory until the process is interrupted (SIGINT or SIGTERM).

    Args:
        directory: holds `<owner>/<name>/…`.
        host: address to listen on.
        port: 0 takes a free one.
        faults: adds the test routes `/-/stats` and `/-/faults`.
        writable: whether clients may make repositories and commit to them.
        url_lifetime: seconds for which the location of a file is good.
        on_ready: called once with the endpoint, such as `http://127.0.0.1:8000`, when connections are accepted.

    Raises:
        InputError: no such directory, or the address cannot be listened on.
    """
    if not directory.is_dir():
        raise InputError(f"{directory} is no directory: give the one that holds <owner>/<name>/ folders")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen on {host}:{port}: {error}. Choose another --host or --port") from error
    config = uvicorn.Config(
        create_app(directory, faults=faults, writable=writable, url_lifetime=url_lifetime),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        # Clients keep connections for their next read; closing them early races with it.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
    )
    endpoint = endpoint_of(host, listener.getsockname()[1])
    with listener:
        _Server(config, lambda: on_ready(endpoint)).run(sockets=[listener])


def endpoint_of(host: str, port: int) -> str:
    """The URL clients use. A wildcard address is nothing to connect to, so this host's name stands for it."""
    name = socket.gethostname() if host in ("", "0.0.0.0", "::") else host  # noqa: S104 (compared, not bound)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
