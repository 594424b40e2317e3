"""Who may read a repository: the optional file `.hub.json` in its folder."""

import hmac
import json
from dataclasses import dataclass
from pathlib import Path

from provision.errors import InputError

ACCESS_FILE = ".hub.json"


class AccessFileError(InputError):
    """A `.hub.json` cannot be understood. Its repository is refused to everyone rather than served to all."""


@dataclass(frozen=True)
class Access:
    """What `.hub.json` says; the default is a public repository."""

    gated: bool | str = False
    """False, True (access is given on request) or "manual" (a person decides)."""
    private: bool = False
    """Whether the repository is hidden from everyone without a token of it."""
    tokens: tuple[str, ...] = ()
    """Bearer tokens that may read it."""

    def __post_init__(self) -> None:
        if not (isinstance(self.gated, bool) or self.gated in ("auto", "manual")):
            raise AccessFileError(f'gated is {self.gated!r}: use true, false, "auto" or "manual"')
        if not isinstance(self.private, bool):
            raise AccessFileError(f"private is {self.private!r}: use true or false")
        if not isinstance(self.tokens, tuple) or not all(isinstance(token, str) and token for token in self.tokens):
            raise AccessFileError("tokens must be a list of non-empty strings")

    def admits(self, token: str | None) -> bool:
        """Whether a request with this bearer token (None: without one) may read the files."""
        if not (self.gated or self.private):
            return True
        given = (token or "").encode()
        return any(hmac.compare_digest(given, known.encode()) for known in self.tokens)


def read_access(repository: Path) -> Access:
    """The access rules of a repository folder.

    Raises:
        AccessFileError: the file exists and is not a JSON object with the keys gated, private, tokens.
    """
    path = repository / ACCESS_FILE
    try:
        content = dict(json.loads(path.read_bytes()))
        if isinstance(content.get("tokens"), list):
            content["tokens"] = tuple(content["tokens"])
        return Access(**content)
    except FileNotFoundError:
        return Access()
    except (OSError, ValueError, TypeError, AccessFileError) as error:
        raise AccessFileError(
            f"{path}: {error}. Correct the file, or remove it to make the repository public"
        ) from error
