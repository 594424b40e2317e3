"""Refusals worded as the Hub words them: the client turns the X-Error-Code header into its exceptions."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from provision.hubserver.repos import Snapshot


class HubError(Exception):
    """An answer other than success."""

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        commit: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        # A header holds printable ASCII only, and a path may hold anything.
        self.headers["X-Error-Message"] = "".join(c if " " <= c <= "~" else "?" for c in message)
        if code:
            self.headers["X-Error-Code"] = code
        if commit:
            self.headers["X-Repo-Commit"] = commit


async def hub_error(request: Request, error: Exception) -> Response:
    """The answer for a HubError."""
    assert isinstance(error, HubError)  # noqa: S101 (registered for this class only)
    return JSONResponse({"error": str(error)}, status_code=error.status, headers=error.headers)


async def bad_access_file(request: Request, error: Exception) -> Response:
    """The answer for a repository whose `.hub.json` cannot be read."""
    return await hub_error(request, HubError(500, None, str(error)))


def denial(snapshot: Snapshot | None, repo_id: str, token: str | None, *, gate: bool) -> HubError | None:
    """Why a request may not see a repository, or None if it may.

    With gate False a gated repository is shown, a private one never.
    """
    if snapshot is not None and snapshot.access.admits(token):
        return None
    status = 401 if token is None else 403
    if snapshot is None or snapshot.access.private:
        # The Hub does not tell a stranger whether a repository is missing or private.
        return HubError(401 if token is None else 404, "RepoNotFound", "Repository not found")
    if not gate:
        return None
    message = f"Access to {repo_id} is restricted. You must have access to it and be authenticated to access it."
    if token is not None:
        message = (
            f"Access to {repo_id} is restricted and you are not in the authorized list. Ask for access on its page."
        )
    return HubError(status, "GatedRepo", message)


def other_host(netloc: str) -> str:
    """Another name for the same server, to imitate the Hub's CDN; other than on loopback there is none.

    The client keeps the answer of a redirect to another host, and follows one to the same host.
    """
    host, colon, port = netloc.partition(":")
    other = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}.get(host, host)
    return f"{other}{colon}{port}"
