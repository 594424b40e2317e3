"""Whole files from the Hub into a scratch directory, checked against their LFS sha256."""

import hashlib
import logging
import re
import shutil
from pathlib import Path

import httpx2
import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from shard.errors import ShardError, SourceChangedError, SourceError, SourceReadError
from shard.records.job import Dataset
from shard.records.options import Options
from shard.records.unit import Unit
from shard.source.patience import TransientError, hub_error, patiently
from shard.storage.disk import disk_full_named

# Its warnings name the signed locations that it downloads from, and our logs are kept.
logging.getLogger("huggingface_hub.file_download").setLevel(logging.ERROR)

_QUERY = re.compile(r"\?[^\s'\"]*")


class Scratch:
    """Holds at most one downloaded file: that of the last unit, because parts of one file follow each other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: tuple[str, Path] | None = None

    def fetch(self, dataset: Dataset, unit: Unit, options: Options) -> Path:
        """Path of the downloaded file.

        Raises SourceReadError when it could not be had in time or arrived damaged, SourceChangedError when it is not
        of the planned size, DiskFullError.
        """
        where = f"{dataset.name}/{unit.path}"
        if self._held is not None and self._held[0] == where:
            return self._held[1]
        self.clear()
        try:
            path = patiently(lambda: self._download(dataset, unit, where), where, options.retry_seconds)
            _check(path, unit, where)
        except ShardError:
            self.clear()
            raise
        self._held = (where, path)
        return path

    def clear(self) -> None:
        """Remove whatever is held."""
        self._held = None
        if self._directory.exists():
            shutil.rmtree(self._directory)

    def _download(self, dataset: Dataset, unit: Unit, where: str) -> Path:
        try:
            with disk_full_named(self._directory):
                return Path(
                    huggingface_hub.hf_hub_download(
                        dataset.root,
                        unit.path,
                        repo_type="dataset",
                        revision=dataset.revision,
                        endpoint=dataset.endpoint,
                        local_dir=self._directory,
                    )
                )
        except HfHubHTTPError as error:
            raise _unsigned(hub_error(error, where)) from None
        except (httpx2.TransportError, huggingface_hub.errors.FileMetadataError, ConnectionError) as error:
            raise TransientError(f"{type(error).__name__}: {error}") from error
        except LocalEntryNotFoundError as error:  # an OSError: the client's word for a HEAD that failed
            cause = error.__cause__
            if isinstance(cause, HfHubHTTPError):
                raise _unsigned(hub_error(cause, where)) from None
            raise TransientError(f"{type(cause or error).__name__}: {cause or error}") from error
        except ValueError as error:  # a name that would be a drive on Windows
            raise SourceError(f"{where}: {error} With --fetch stream it can be read as it is.") from error
        except OSError as error:  # such as a length that the client finds wrong
            raise SourceReadError(f"{where}: {error}") from error


def _unsigned(error: TransientError | SourceError) -> TransientError | SourceError:
    """The error without the signatures of the locations it names."""
    return error if isinstance(error, TransientError) else SourceError(_QUERY.sub("", str(error)))


def _check(path: Path, unit: Unit, where: str) -> None:
    size = path.stat().st_size
    if size != unit.size:
        raise SourceChangedError(f"{where}: downloaded {size} bytes, planned {unit.size}")
    kind, _, expected = unit.content_id.partition(":")
    if kind == "sha256":
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != expected:
            # At a pinned commit the content cannot have changed: the bytes were damaged on their way.
            raise SourceReadError(f"{where}: downloaded bytes have sha256 {digest}, the Hub lists {expected}")
