"""Signed locations: what a resolve hands out, good for one file until it expires."""

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode


@dataclass
class UrlSigner:
    """Signs and checks locations with a key of this process: a restart makes old locations invalid."""

    lifetime: float
    """Seconds a location is good for."""
    clock: Callable[[], float]
    """Seconds since the epoch."""
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def location(self, oid: str, repo_id: str, path: str, extra: Mapping[str, str] | None = None) -> str:
        """Path and query of a location: `/cdn/<oid>?repo=…&path=…&Expires=…&Signature=…`."""
        expires = f"{self.clock() + self.lifetime:.3f}"
        query = {"repo": repo_id, "path": path, **(extra or {}), "Expires": expires}
        query["Signature"] = self._signature(oid, repo_id, path, expires)
        return f"/cdn/{oid}?{urlencode(query, quote_via=quote)}"

    def accepts(self, oid: str, query: Mapping[str, str]) -> bool:
        """Whether the query was signed here for this oid and has not expired."""
        expires = query.get("Expires", "")
        expected = self._signature(oid, query.get("repo", ""), query.get("path", ""), expires)
        # The signature comes first: only what was signed here is parsed as a number.
        if not hmac.compare_digest(expected.encode(), query.get("Signature", "").encode()):
            return False
        return self.clock() < float(expires)

    def rotate(self) -> None:
        """Make every location handed out so far invalid."""
        self._key = secrets.token_bytes(32)

    def _signature(self, *parts: str) -> str:
        return hmac.new(self._key, "\0".join(parts).encode(), "sha256").hexdigest()
