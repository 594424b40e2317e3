"""Whether this host gets to a dataset on the Hub, with the token it is given."""

import httpx2
from huggingface_hub.utils._headers import build_hf_headers

from shard.errors import SourceReadError
from shard.records.hub import HubAnswer, HubQuestion
from shard.records.progress import shorten
from shard.source.patience import TRANSIENT_STATUS, TransientError, patiently

_CONNECTION_SECONDS = 10.0
_TRIED_FOR_SECONDS = 3.0
_REFUSED = frozenset({401, 403, 404})


def ask_hub(question: HubQuestion) -> HubAnswer:
    """One question that counts against no limit of downloads: may this token read that dataset?

    It goes the way that the ranks' requests go, through the same proxies and certificates.
    """
    url = f"{question.endpoint}/api/datasets/{question.dataset}/auth-check"

    def ask() -> httpx2.Response:
        try:
            return httpx2.get(
                url,
                headers=build_hf_headers(token=question.token or False),
                follow_redirects=True,
                timeout=_CONNECTION_SECONDS,
            )
        except httpx2.TransportError as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error

    try:
        answer = patiently(ask, question.endpoint, _TRIED_FOR_SECONDS)
    except (SourceReadError, httpx2.TooManyRedirects) as error:
        return HubAnswer(outcome="unreachable", detail=shorten(str(error)))
    detail = shorten(f"HTTP {answer.status_code} {answer.headers.get('X-Error-Message', '')}")
    if answer.is_success:
        return HubAnswer(outcome="admitted")
    if answer.status_code in TRANSIENT_STATUS:
        return HubAnswer(outcome="busy", detail=detail)
    return HubAnswer(outcome="refused" if answer.status_code in _REFUSED else "unreachable", detail=detail)
