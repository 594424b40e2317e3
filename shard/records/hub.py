"""What a host is asked about the Hub before a run, and what it answers."""

from typing import Literal

import msgspec


class HubQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What a host is to ask the Hub. Comes on standard input: the token must not be seen in an argument."""

    endpoint: str
    dataset: str
    """`owner/name`."""
    token: str | None

    def __repr__(self) -> str:
        return f"HubQuestion(endpoint={self.endpoint!r}, dataset={self.dataset!r})"


class HubAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    outcome: Literal["admitted", "busy", "refused", "unreachable"]
    """Busy: a status that passes, such as 503 or 429. Refused: no such dataset, or not for this token."""
    detail: str = ""
