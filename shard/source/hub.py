"""Source files on the Hub: one resolve per file, then range requests straight to where the bytes lie.

Rate limits count resolves (3,000 in five minutes for an anonymous address), so a location is asked for once and again
only when it has expired. See https://huggingface.co/docs/hub/rate-limits.
"""

import functools
import ssl
import threading
from urllib.parse import urlsplit

import httpx2
import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._headers import build_hf_headers

from shard.errors import SourceChangedError, SourceError
from shard.job import Dataset, Options, Unit
from shard.source.patience import TRANSIENT_STATUS, TransientError, hub_error, patiently, transient

_EXPIRED = frozenset({401, 403, 410})


@functools.cache
def _tls() -> ssl.SSLContext:
    """One for all files: reading the certificates takes longer than a small file does."""
    return httpx2.create_ssl_context()


class _ExpiredError(Exception):
    """The signature of a location has run out."""


class HubFile:
    """One file at a pinned revision. Thread-safe: several spans are fetched at once."""

    def __init__(self, dataset: Dataset, unit: Unit, options: Options, location: str | None = None) -> None:
        self._unit = unit
        self._options = options
        self._where = f"{dataset.name}/{unit.path}"
        self._url = huggingface_hub.hf_hub_url(
            dataset.root, unit.path, repo_type="dataset", revision=dataset.revision, endpoint=dataset.endpoint
        )
        self._location = location
        self._etag: str | None = None
        self._lock = threading.Lock()
        self._client = httpx2.Client(
            verify=_tls(),
            follow_redirects=True,
            timeout=httpx2.Timeout(options.stall_seconds),
            limits=httpx2.Limits(max_connections=options.spans_in_flight + 1),
        )

    def fetch(self, start: int, end: int) -> bytes:
        """Bytes `start` (inclusive) to `end` (exclusive).

        Raises SourceReadError when they could not be had within `retry_seconds`, SourceChangedError when the file is
        not the planned one.
        """
        if start >= end:
            return b""
        return patiently(lambda: self._fetch_once(start, end), self._where, self._options.retry_seconds)

    @property
    def location(self) -> str | None:
        """Where the bytes lie, as last resolved: a signed address, good for a while."""
        return self._location

    def close(self) -> None:
        self._client.close()

    def _fetch_once(self, start: int, end: int) -> bytes:
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
                pieces.extend(response.iter_raw())
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
        with self._lock:  # one thread asks, the others wait for its answer
            if self._location is None:
                self._location = self._resolve()
            return self._location

    def _forget(self, location: str) -> None:
        with self._lock:
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
