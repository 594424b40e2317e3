"""The routes of the Hub that its client uses, for datasets and models alike.

A resolve of an LFS file answers 302 to a signed location on another host name, as the Hub does; small files are sent
at once. Route list and header names: https://huggingface.co/docs/hub/api and huggingface_hub's file_download module.
"""

import json
import time
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from provision.hubserver import listing
from provision.hubserver.access import AccessFileError
from provision.hubserver.faults import Fault, FaultList, Stats
from provision.hubserver.filebody import FileSpanResponse, UnsatisfiableRangeError, parse_range
from provision.hubserver.replies import HubError, bad_access_file, denial, hub_error, other_host
from provision.hubserver.repos import HubFile, Repositories, Snapshot
from provision.hubserver.signing import UrlSigner
from provision.hubserver.uploads import Uploads

PAGE, EXPANDED_PAGE = 1000, 50
"""Tree entries per page, as on the Hub."""


class _Hub:
    """The endpoints and what they share."""

    def __init__(self, directory: Path, url_lifetime: float, *, counting: bool) -> None:
        self.repositories = Repositories(directory)
        self.signer = UrlSigner(url_lifetime, time.time)
        self.faults = FaultList()
        # Counts by path grow with every new one asked for: only tests keep them.
        self.stats = Stats() if counting else None
        # Hashing waits must not use up the threads that read for downloads under way.
        self.scans = anyio.CapacityLimiter(8)

    async def info(self, request: Request) -> Response:
        # The Hub shows the info of gated repositories to everyone (huggingface_hub issue 2457); auth-check does not.
        snapshot = await self._api(request, gate=False)
        return JSONResponse(listing.info(snapshot, blobs=_flag(request.query_params.get("blobs"))))

    async def auth_check(self, request: Request) -> Response:
        await self._api(request)
        return JSONResponse({})

    async def tree(self, request: Request) -> Response:
        snapshot = await self._api(request)
        query = dict(request.query_params)
        recursive, expand = _flag(query.get("recursive")), _flag(query.get("expand"))
        folder = request.path_params.get("path", "")
        entries = listing.tree(snapshot, folder, recursive=recursive, expand=expand)
        if entries is None:
            raise HubError(404, "EntryNotFound", f"no folder {folder} in {snapshot.repo_id}", snapshot.commit)
        cursor = query.get("cursor", "0")
        start = int(cursor) if cursor.isdecimal() else 0
        stop = start + (EXPANDED_PAGE if expand else PAGE)
        headers = {}
        if stop < len(entries):
            path, follow = request.scope["raw_path"].decode("ascii"), urlencode({**query, "cursor": stop})
            headers["Link"] = f'<{request.url.scheme}://{request.url.netloc}{path}?{follow}>; rel="next"'
        return JSONResponse(entries[start:stop], headers=headers)

    async def gate(self, request: Request) -> Snapshot:
        """The repository that a request names. Raises HubError for one who may not see it."""
        return await self._api(request)

    async def paths_info(self, request: Request) -> Response:
        snapshot = await self._api(request)
        form = parse_qs((await request.body()).decode())
        expand = _flag(form.get("expand", [""])[0])
        return JSONResponse(listing.paths_info(snapshot, form.get("paths", []), expand=expand))

    async def resolve(self, request: Request) -> Response:
        repo_id, path = _repo_id(request), request.path_params["path"]
        self._arrived("resolve", f"{repo_id}/{path}")
        snapshot = await self._snapshot(request, repo_id, request.path_params["revision"])
        file = snapshot.files.get(path)
        if file is None:
            raise HubError(404, "EntryNotFound", f"no file {path} in {repo_id}", snapshot.commit)
        headers = {"X-Repo-Commit": snapshot.commit, "ETag": f'"{file.etag}"'}
        if file.sha256 is None:
            return self._send("resolve", f"{repo_id}/{path}", file, headers, request)
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.stat.size), "Accept-Ranges": "bytes"}
        host = other_host(request.url.netloc)
        # The client follows redirects on one host and wants the commit from the last answer, so it goes along.
        extra = {"commit": snapshot.commit} if host == request.url.netloc else {}
        location = self.signer.location(file.sha256, repo_id, path, extra)
        return Response(status_code=302, headers={**headers, "Location": f"{request.url.scheme}://{host}{location}"})

    async def cdn(self, request: Request) -> Response:
        oid, query = request.path_params["oid"], request.query_params
        repo_id, path = query.get("repo", ""), query.get("path", "")
        self._arrived("cdn", f"{repo_id}/{path}")
        if not self.signer.accepts(oid, query):
            raise HubError(403, "AccessDenied", "the location has expired or its signature is wrong: resolve again")
        snapshot = self.repositories.last_known(repo_id)
        file = snapshot.files.get(path) if snapshot else None
        if file is None or file.sha256 != oid or not file.unchanged():
            raise HubError(404, "NoSuchKey", f"{path} of {repo_id} changed since it was resolved: resolve again")
        headers = {"ETag": f'"{oid}"'}
        if "commit" in query:
            headers["X-Repo-Commit"] = query["commit"]
        return self._send("cdn", f"{repo_id}/{path}", file, headers, request)

    def _send(self, where: str, subject: str, file: HubFile, headers: dict[str, str], request: Request) -> Response:
        asked, size, fault = request.headers.get("Range"), file.stat.size, None
        if request.headers.get("If-Range", headers["ETag"]) != headers["ETag"]:
            asked = None
        try:
            span = parse_range(asked, size)
            if request.method == "GET":
                fault = self.faults.take_body(where, subject, *((span.start, span.stop) if span else (0, size)))
            if fault and fault.kind == "etag":
                headers["ETag"] = f'"{"0" * len(file.etag)}"'
            if fault and fault.kind == "truncate":
                size = max(0, size - fault.length)
                span = parse_range(asked, size)
        except UnsatisfiableRangeError:
            return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
        on_sent = partial(self.stats.sent, where, subject) if self.stats else None
        return FileSpanResponse(file.stat.local, size, span, headers=headers, fault=fault, on_sent=on_sent)

    async def show_stats(self, request: Request) -> Response:
        counts = self.stats.as_json() if self.stats else {}
        return JSONResponse({**counts, "faults_left": self.faults.left()})

    async def arm(self, request: Request) -> Response:
        try:
            armed = [Fault(**entry) for entry in await request.json()]
        except (TypeError, ValueError, json.JSONDecodeError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        if any(fault.kind == "expire" for fault in armed):
            self.signer.rotate()
        self.faults.arm(fault for fault in armed if fault.kind != "expire")
        return JSONResponse({"faults_left": self.faults.left()})

    async def disarm(self, request: Request) -> Response:
        self.faults.clear()
        return JSONResponse({"faults_left": 0})

    async def _api(self, request: Request, *, gate: bool = True) -> Snapshot:
        repo_id = _repo_id(request)
        self._arrived("api", repo_id)
        return await self._snapshot(request, repo_id, request.path_params.get("revision", "main"), gate=gate)

    def _arrived(self, where: str, subject: str) -> None:
        if self.stats:
            self.stats.request(where, subject)
        if fault := self.faults.take_status(where, subject):
            raise HubError(fault.status, None, "as armed by a test", headers=fault.headers)

    async def _snapshot(self, request: Request, repo_id: str, revision: str, *, gate: bool = True) -> Snapshot:
        snapshot = await run_sync(self.repositories.snapshot, repo_id, limiter=self.scans)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        refused = denial(snapshot, repo_id, token.strip() if scheme.lower() == "bearer" else None, gate=gate)
        if refused:
            raise refused
        assert snapshot is not None  # noqa: S101 (denial refuses a missing repository)
        if not snapshot.has_revision(revision):
            raise HubError(404, "RevisionNotFound", f"no revision {revision} in {repo_id}: it is at {snapshot.commit}")
        return snapshot


def create_app(
    directory: Path, *, faults: bool = False, writable: bool = False, url_lifetime: float = 3600.0
) -> Starlette:
    """The server's ASGI application.

    Args:
        directory: holds `<owner>/<name>/…`; each such folder is both the dataset and the model `owner/name`.
        faults: adds `GET /-/stats`, `POST /-/faults` and `DELETE /-/faults`, for tests.
        writable: adds the routes that make repositories and commit to them.
        url_lifetime: seconds for which the location of a file is good.
    """
    hub = _Hub(directory, url_lifetime, counting=faults)
    routes = [Route("/cdn/{oid}", hub.cdn)]
    for kind in ("datasets", "models"):
        api = f"/api/{kind}/{{owner}}/{{name}}"
        routes += [
            Route(f"{api}/auth-check", hub.auth_check),
            Route(f"{api}/revision/{{revision:path}}", hub.info),
            Route(f"{api}/tree/{{revision}}", hub.tree),
            Route(f"{api}/tree/{{revision}}/{{path:path}}", hub.tree),
            Route(f"{api}/paths-info/{{revision}}", hub.paths_info, methods=["POST"]),
            Route(api, hub.info),
        ]
    resolve = "/{owner}/{name}/resolve/{revision}/{path:path}"
    routes += [Route(f"/datasets{resolve}", hub.resolve), Route(resolve, hub.resolve)]
    if writable:
        routes += Uploads(hub.repositories, hub.gate).routes()
    if faults:
        routes[:0] = [
            Route("/-/stats", hub.show_stats),
            Route("/-/faults", hub.arm, methods=["POST"]),
            Route("/-/faults", hub.disarm, methods=["DELETE"]),
        ]
    return Starlette(routes=routes, exception_handlers={HubError: hub_error, AccessFileError: bad_access_file})


def _repo_id(request: Request) -> str:
    return f"{request.path_params['owner']}/{request.path_params['name']}"


def _flag(value: str | None) -> bool:
    return (value or "").lower() in ("1", "true")
