"""Source files on the Hub: one resolve per file, then range requests straight to where the bytes lie.

Rate limits count resolves (3,000 in five minutes for an anonymous address), so a location is asked for once and again
only when it has expired. See https://huggingface.co/docs/hub/rate-limits.
"""

import functools
import ssl
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx2
import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._headers import build_hf_headers

from shard.errors import SourceChangedError, SourceError, SourceReadError
from shard.records.job import Dataset
from shard.records.options import Options
from shard.records.unit import Unit
from shard.source.gulps import gulps
from shard.source.patience import TRANSIENT_STATUS, TransientError, hub_error, patiently, transient

_EXPIRED = frozenset({401, 403, 410})
_KEEP_SECONDS = 30.0
"""How long an idle connection is kept; servers close theirs after a minute or so."""


@functools.cache
def _tls() -> ssl.SSLContext:
    """One for all files: reading the certificates takes longer than a small file does."""
    return httpx2.create_ssl_context()


def connections(options: Options) -> httpx2.Client:
    """Connections for any number of files. A rank keeps them from file to file: a new one begins slowly, in TLS and in
    TCP alike."""
    return httpx2.Client(
        verify=_tls(),
        follow_redirects=True,
        timeout=httpx2.Timeout(options.stall_seconds, pool=None),
        # One for every request, and for footers meanwhile; those of a file that was given up end by themselves.
        limits=httpx2.Limits(
            max_connections=None,
            max_keepalive_connections=options.spans_in_flight + 2,
            keepalive_expiry=_KEEP_SECONDS,
        ),
    )


def _at_any_rate(size: int) -> None:
    """No limit."""


class _ExpiredError(Exception):
    """The signature of a location has run out."""


class HubFile:
    """One file at a pinned revision. Thread-safe: several spans are fetched at once."""

    def __init__(
        self,
        dataset: Dataset,
        unit: Unit,
        options: Options,
        location: str | None = None,
        client: httpx2.Client | None = None,
        pace: Callable[[int], None] = _at_any_rate,
    ) -> None:
        """`client` has the connections, if this file is not to have its own. `pace` waits until so many bytes more may
        come."""
        self._unit = unit
        self._options = options
        self._where = f"{dataset.name}/{unit.path}"
        self._url = huggingface_hub.hf_hub_url(
            dataset.root, unit.path, repo_type="dataset", revision=dataset.revision, endpoint=dataset.endpoint
        )
        self._location = location
        self._etag: str | None = None
        self._lock = threading.Lock()
        self._resolving = threading.Lock()
        self._own_client = connections(options) if client is None else None
        self._client: httpx2.Client = client or self._own_client  # type: ignore[assignment]
        self._pace = pace
        self._closed = False

    def fetch(self, start: int, end: int) -> bytes:
        """Bytes `start` (inclusive) to `end` (exclusive).

        Raises SourceReadError when they could not be had within `retry_seconds`, SourceChangedError when the file is
        not the planned one.
        """
        if start >= end:
            return b""
        return patiently(lambda: self._fetch_once(start, end), self._where, self._options.retry_seconds)

    def locate(self) -> None:
        """Resolve the file, unless that has been done. Raises as `fetch` does."""
        patiently(self._resolved, self._where, self._options.retry_seconds)

    @property
    def location(self) -> str | None:
        """Where the bytes lie, as last resolved: a signed address, good for a while."""
        return self._location

    def close(self) -> None:
        """End what is still under way."""
        self._closed = True
        if self._own_client is not None:
            self._own_client.close()

    def _require_open(self) -> None:
        if self._closed:
            raise SourceReadError(f"{self._where}: closed while it was read")

    def _fetch_once(self, start: int, end: int) -> bytes:
        self._require_open()
        location = self._resolved()
        try:
            return self._get(location, start, end)
        except _ExpiredError:
            # At once: signatures run out in any long job, and waiting would stall the reader.
            self._forget(location)
        try:
            return self._get(self._resolved(), start, end)
        except _ExpiredError as error:
            raise TransientError(f"a fresh location was refused: {error}") from error

    def _get(self, location: str, start: int, end: int) -> bytes:
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        if urlsplit(location).netloc == urlsplit(self._url).netloc:
            # Served by the Hub itself; a signed location elsewhere refuses foreign credentials.
            headers |= build_hf_headers()
        pieces: list[bytes] = []
        try:
            with self._client.stream("GET", location, headers=headers) as response:
                self._check(response, start, end)
                for piece in gulps(response, end - start):
                    self._pace(len(piece))
                    self._require_open()
                    pieces.append(piece)
        except httpx2.TransportError as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error
        body = b"".join(pieces)
        if len(body) != end - start:
            raise TransientError(f"bytes {start} to {end}: got {len(body)} of {end - start}")
        return body

    def _check(self, response: httpx2.Response, start: int, end: int) -> None:
        status = response.status_code
        if status in _EXPIRED:
            raise _ExpiredError(f"HTTP {status}")
        if status in TRANSIENT_STATUS:
            raise transient(response)
        if status == 416:
            raise SourceChangedError(f"{self._where}: shorter than the planned {self._unit.size} bytes")
        if status != 206:
            raise SourceError(f"{self._where}: HTTP {status} to a range request")
        sent, _, total = response.headers.get("Content-Range", "").rpartition("/")
        if total not in ("*", str(self._unit.size)):
            raise SourceChangedError(f"{self._where}: now {total} bytes, planned {self._unit.size}")
        if sent != f"bytes {start}-{end - 1}":
            raise TransientError(f"asked for bytes {start}-{end - 1}, was sent {sent!r}")
        self._same_etag(response.headers.get("ETag"))

    def _same_etag(self, etag: str | None) -> None:
        if etag is None:
            return
        with self._lock:
            if self._etag is None:
                self._etag = etag
            if etag != self._etag:
                raise SourceChangedError(f"{self._where}: changed while it was read (etag {self._etag}, then {etag})")

    def _resolved(self) -> str:
        # One thread asks, those that have none wait for its answer; transfers under way go on.
        with self._resolving:
            if self._location is None:
                self._location = self._resolve()
            return self._location

    def _forget(self, location: str) -> None:
        with self._resolving:
            if self._location == location:
                self._location = None

    def _resolve(self) -> str:
        try:
            metadata = huggingface_hub.get_hf_file_metadata(self._url, timeout=self._options.stall_seconds)
        except HfHubHTTPError as error:
            raise hub_error(error, self._where) from error
        except httpx2.TransportError as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error
        if metadata.size is not None and metadata.size != self._unit.size:
            raise SourceChangedError(f"{self._where}: now {metadata.size} bytes, planned {self._unit.size}")
        expected = self._unit.content_id.partition(":")[2]
        if metadata.etag is not None and metadata.etag != expected:
            raise SourceChangedError(f"{self._where}: etag {metadata.etag}, planned {self._unit.content_id}")
        return metadata.location
