"""The routes by which the Hub's client makes repositories and commits to them: for `hub serve --writable`.

Large files come first, each to an address of its own (git-lfs: https://github.com/git-lfs/git-lfs/blob/main/docs/api),
under `.cache` of their repository; a commit then names them, and brings small ones with it. A commit is not atomic for
those who read meanwhile: a folder is no git.
"""

import base64
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from provision.hubserver.access import ACCESS_FILE
from provision.hubserver.replies import HubError
from provision.hubserver.repos import LFS_THRESHOLD, Repositories, Snapshot, is_listed
from shard.records.frozen import stays_below

Gate = Callable[[Request], Awaitable[Snapshot]]
"""The repository that a request names, as it is now. Raises HubError for one who may not see it."""


@dataclass(frozen=True)
class Uploads:
    """The endpoints, and the uploads that they wait for."""

    repositories: Repositories
    gate: Gate
    expected: dict[str, tuple[Path, str]] = field(default_factory=dict)
    """Secret part of an address → where the file is to lie, and its sha256."""

    def routes(self) -> list[Route]:
        found = [
            Route("/api/repos/create", self.create, methods=["POST"]),
            Route("/api/validate-yaml", self.validate_yaml, methods=["POST"]),
            Route("/upload/{secret}", self.take, methods=["PUT"]),
        ]
        for kind, prefix in (("datasets", "/datasets"), ("models", "")):
            api = f"/api/{kind}/{{owner}}/{{name}}"
            found += [
                Route(f"{api}/preupload/{{revision}}", self.preupload, methods=["POST"]),
                Route(f"{api}/commit/{{revision}}", self.commit, methods=["POST"]),
                Route(f"{prefix}/{{owner}}/{{name}}.git/info/lfs/objects/batch", self.batch, methods=["POST"]),
            ]
        return found

    async def create(self, request: Request) -> Response:
        wanted = await request.json()
        token = _token(request)
        repo_id = f"{wanted.get('organization')}/{wanted.get('name')}"
        folder = self.repositories.place(repo_id)
        if folder is None:
            raise HubError(400, None, f"{repo_id}: write owner/name")
        kind = {"dataset": "datasets/"}.get(wanted.get("type"), "")
        made = {"url": f"{request.base_url}{kind}{repo_id}", "name": repo_id}
        try:
            folder.mkdir(parents=True)
        except FileExistsError:  # the client goes on with the address
            return JSONResponse({**made, "error": f"{repo_id}: there already"}, status_code=409)
        if wanted.get("visibility") == "private":
            (folder / ACCESS_FILE).write_text(json.dumps({"private": True, "tokens": [token]}))
        return JSONResponse(made)

    async def validate_yaml(self, request: Request) -> Response:
        return JSONResponse({"errors": [], "warnings": []})

    async def preupload(self, request: Request) -> Response:
        snapshot = await self._repository(request)
        said = []
        for file in (await request.json())["files"]:
            path = _checked(file["path"])
            known = snapshot.files.get(path)
            large = file["size"] >= LFS_THRESHOLD or path.endswith(".parquet")
            oid = None if known is None else known.sha256 or known.etag
            said.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid})
        return JSONResponse({"files": said})

    async def batch(self, request: Request) -> Response:
        snapshot = await self._repository(request)
        held = {file.sha256 for file in snapshot.files.values()}
        objects = []
        for asked in (await request.json())["objects"]:
            place = self._staged(snapshot.repo_id, asked["oid"])
            answer: dict[str, Any] = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in held and not place.exists():
                secret = secrets.token_urlsafe()
                self.expected[secret] = (place, asked["oid"])
                answer["actions"] = {"upload": {"href": f"{request.base_url}upload/{secret}"}}
            objects.append(answer)
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def take(self, request: Request) -> Response:
        found = self.expected.get(request.path_params["secret"])
        if found is None:
            raise HubError(403, "AccessDenied", "no upload is expected here")
        place, oid = found
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f"{place.name}.{secrets.token_hex(4)}")
        digest = hashlib.sha256()
        try:
            with temporary.open("wb") as file:
                async for chunk in request.stream():
                    digest.update(chunk)
                    await run_sync(file.write, chunk)
            if digest.hexdigest() != oid:
                raise HubError(400, None, f"sha256 {digest.hexdigest()} came where {oid} was announced")
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
        return Response()

    async def commit(self, request: Request) -> Response:
        snapshot = await self._repository(request)
        lines = [json.loads(line) for line in (await request.body()).splitlines()]
        await run_sync(self._apply, snapshot, [line for line in lines if line["key"] != "header"])
        after = await self.gate(request)
        url = f"{request.base_url}datasets/{after.repo_id}/commit/{after.commit}"
        return JSONResponse({"success": True, "commitOid": after.commit, "commitUrl": url})

    def _apply(self, snapshot: Snapshot, operations: list[Mapping[str, Any]]) -> None:
        folder = self._folder(snapshot.repo_id)
        held = {file.sha256: file.stat.local for file in snapshot.files.values() if file.sha256}
        steps: list[Callable[[], object]] = []
        for operation in operations:  # all is looked at before anything is done
            key, value = operation["key"], operation["value"]
            target = folder / _checked(value["path"])
            if not target.parent.resolve().is_relative_to(folder):
                raise HubError(400, None, f"{value['path']}: leads out of the repository")
            if key == "file":
                steps.append(partial(_replace, target, base64.b64decode(value["content"])))
            elif key == "lfsFile":
                source = self._staged(snapshot.repo_id, value["oid"])
                if not source.exists() and value["oid"] not in held:
                    raise HubError(400, None, f"{value['path']}: {value['oid']} has not been uploaded")
                source = source if source.exists() else Path(held[value["oid"]])
                steps.append(partial(_replace, target, source))
            elif key in ("deletedFile", "deletedFolder"):
                steps.append(partial(_remove, target))
            else:
                raise HubError(400, None, f"{key}: this server does not know such a change")
        for step in steps:
            step()
        shutil.rmtree(folder / ".cache", ignore_errors=True)

    async def _repository(self, request: Request) -> Snapshot:
        """The repository to be written to, of which there is only `main`."""
        _token(request)
        return await self.gate(request)

    def _folder(self, repo_id: str) -> Path:
        folder = self.repositories.place(repo_id)
        if folder is None:
            raise HubError(404, "RepoNotFound", "Repository not found")
        return folder

    def _staged(self, repo_id: str, oid: str) -> Path:
        if len(oid) != 64 or not all(letter in "0123456789abcdef" for letter in oid):
            raise HubError(400, None, f"{oid!r}: no sha256")
        return self._folder(repo_id) / ".cache" / "uploads" / oid


def _token(request: Request) -> str:
    """Whoever writes says who it is; that the token is one of a private repository, the gate asks."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise HubError(401, None, "set HF_TOKEN: whoever writes must say who it is")
    return token.strip()


def _checked(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or not stays_below(path) or not all(map(is_listed, parts)):
        raise HubError(400, None, f"{path!r}: no name of a file of a repository")
    return path


def _replace(target: Path, content: bytes | Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    if isinstance(content, bytes):
        temporary.write_bytes(content)
    else:
        shutil.copy2(content, temporary)
        os.utime(temporary)
    temporary.replace(target)


def _remove(target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
