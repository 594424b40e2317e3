"""The real server in a process of its own, so that clients and server share no GIL."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROGRAM = """
import json, sys
from pathlib import Path
from provision.hubserver.serve import serve
options = json.loads(sys.argv[2])
serve(Path(sys.argv[1]), on_ready=lambda endpoint: print(endpoint, flush=True), **options)
"""


@dataclass(frozen=True)
class RunningHub:
    """A server that accepts connections."""

    endpoint: str
    """Such as http://127.0.0.1:40123."""

    def stats(self) -> dict[str, Any]:
        """Request counts: api, resolve, cdn, cdn_bytes, paths, faults_left."""
        return self._call("GET", "stats")

    def arm(self, *faults: dict[str, Any]) -> None:
        """Arm faults, each with the fields of provision.hubserver.faults.Fault."""
        self._call("POST", "faults", faults)

    def clear(self) -> None:
        """Disarm all faults."""
        self._call("DELETE", "faults")

    def _call(self, method: str, name: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.endpoint}/-/{name}", data, method=method)
        # A proxy of the environment must not come between.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            result: dict[str, Any] = json.load(answer)
        return result


@contextmanager
def running_hub(
    directory: Path,
    *,
    faults: bool = True,
    url_lifetime: float = 3600.0,
    host: str = "127.0.0.1",
    writable: bool = False,
) -> Iterator[RunningHub]:
    """Serve a directory on a free port until the block ends."""
    options = {"host": host, "port": 0, "faults": faults, "url_lifetime": url_lifetime, "writable": writable}
    command = [sys.executable, "-c", _PROGRAM, str(directory), json.dumps(options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            endpoint = process.stdout.readline().strip()
            if not endpoint:
                raise RuntimeError(f"the hub server ended with code {process.wait()}; its stderr says why")
            yield RunningHub(endpoint)
        finally:
            process.kill()
