"""A Hub that answers what it likes: for each dataset `team/case-N` what the N-th case says. Not our server: a foe's."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HONEST = {"path": "x.parquet", "size": 100, "sha256": "0" * 64, "commit": "a" * 40, "card": None}


@contextmanager
def hostile_hub(answers: list[dict[str, Any]]) -> Iterator[str]:
    """Serve until the block ends; yields the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

        def _answer(self, *, body: bool) -> None:
            words = urlsplit(self.path).path.split("/")
            case = HONEST | answers[int(next(word for word in words if word.startswith("case-")).partition("-")[2])]
            headers = {"ETag": '"0"', "X-Repo-Commit": HONEST["commit"]}
            if "tree" in words:
                content = json.dumps(_tree(case))
            elif "resolve" in words:
                content = f"---\n{case['card']}\n---\n"
            else:
                content = json.dumps({"id": "team/x", "sha": case["commit"], "siblings": []})
            data = content.encode()
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def _tree(case: dict[str, Any]) -> list[dict[str, Any]]:
    lfs = {"oid": case["sha256"], "size": case["size"], "pointerSize": 130}
    entries = [{"type": "file", "oid": "0" * 40, "size": case["size"], "path": case["path"], "lfs": lfs}]
    if case["card"] is not None:
        entries.append({"type": "file", "oid": "1" * 40, "size": 10, "path": "README.md"})
    return entries
