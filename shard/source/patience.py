"""Faults of the Hub that pass, and how long to wait for them: minutes, with jitter, or all ranks come back at once."""

from collections.abc import Callable
from random import uniform
from typing import TypeVar

import httpx2
import stamina
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import parse_ratelimit_headers

from shard.errors import SourceError, SourceReadError

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})

_LONGEST_WAIT_SECONDS = 600.0
"""Twice the window of the Hub's rate limits: a server that asks for more is asked again all the same."""

T = TypeVar("T")


class TransientError(Exception):
    """The Hub, or the way to it, failed in a manner that passes."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the server asks for."""


def patiently(action: Callable[[], T], where: str, seconds: float) -> T:
    """Call until it does not raise TransientError, for at most `seconds`.

    Raises SourceReadError in the end; other errors pass through at once.
    """
    retrying = stamina.retry(
        on=_wait_before_next, attempts=None, timeout=seconds, wait_initial=0.5, wait_max=60.0, wait_jitter=2.0
    )
    try:
        return retrying(action)()
    except TransientError as error:
        raise SourceReadError(f"{where}: given up after {seconds:.0f} s of retries: {error}") from error


def transient(response: httpx2.Response) -> TransientError:
    """The error for a response whose status is in TRANSIENT_STATUS."""
    limit = parse_ratelimit_headers(response.headers)
    after = response.headers.get("Retry-After", "")
    seconds = float(limit.reset_in_seconds) if limit is not None else float(after) if after.isdigit() else None
    return TransientError(f"HTTP {response.status_code}", retry_after=seconds)


def hub_error(error: HfHubHTTPError, where: str) -> TransientError | SourceError:
    """What a failed call of the Hub client means: wait, or give up."""
    if error.response is not None and error.response.status_code in TRANSIENT_STATUS:
        return transient(error.response)
    return SourceError(f"{where}: {error}")


def _wait_before_next(error: Exception) -> bool | float:
    if not isinstance(error, TransientError):
        return False
    if error.retry_after is None:
        return True
    seconds = min(error.retry_after, _LONGEST_WAIT_SECONDS)
    return seconds + uniform(0.0, 0.5 + seconds / 4)  # noqa: S311  spreads load, hides nothing
