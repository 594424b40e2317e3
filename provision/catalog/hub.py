"""Catalog of a dataset on the Hub: resolved to a commit once, listed once."""

import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import httpx2
import huggingface_hub
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils._validators import validate_repo_id

from provision.catalog.card import CardConfig, chosen_config, configs_of
from provision.catalog.inputs import readable
from provision.catalog.look import look_for_text
from provision.catalog.split import of_split, split_notes
from provision.catalog.types import Catalog, DatasetSpec, SourceFile, choose
from provision.errors import CatalogError
from shard.records.job import Dataset
from shard.records.options import Options
from shard.records.unit import Unit
from shard.source.hub import HubFile
from shard.source.spanfile import SpanFile

# It tells that a card has no metadata, which is nothing that a user has to know.
logging.getLogger("huggingface_hub.repocard").setLevel(logging.ERROR)

_FOOTER_BYTES = 64 << 10
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CREDENTIALS = re.compile(r"://.*@", re.DOTALL)


def hub_catalog(spec: DatasetSpec) -> Catalog:
    """List a dataset at a commit.

    Raises CatalogError, each with its remedy, when it is gated, private, missing, empty, without a file to read,
    without the configuration, or without the text column.
    """
    api = huggingface_hub.HfApi()
    endpoint = api.endpoint
    if _CREDENTIALS.search(endpoint):
        raise CatalogError(
            f"HF_ENDPOINT={_CREDENTIALS.sub('://', endpoint)}: credentials in it would be written into plan and job; "
            "leave them out, and set HF_TOKEN where the Hub wants to know who asks"
        )
    with _explained(spec, endpoint):
        validate_repo_id(spec.name)
        # A gated dataset tells everybody about itself, and gives nobody its files.
        api.auth_check(spec.name, repo_type="dataset")
        info = api.dataset_info(spec.name, revision=spec.revision)
        revision = info.sha
        if revision is None or not _COMMIT.fullmatch(revision):
            raise CatalogError(f"{spec.name}: {endpoint} does not say which commit {spec.revision or 'main'} is")
        listed = {
            item.path: item
            for item in api.list_repo_tree(spec.name, recursive=True, revision=revision, repo_type="dataset")
            if isinstance(item, RepoFile)
        }
        # --include alone speaks of the whole repository; beside --config, of that configuration's files.
        carded = "README.md" in listed and (spec.config is not None or not spec.include)
        configs = _card_configs(api, spec, revision) if carded else ()
    if not listed:
        raise CatalogError(f"{spec.name}: holds no file at {revision[:12]}")
    config = chosen_config(configs, spec.config, where=spec.name)
    by_card = config is not None and bool(config.splits)
    if config is not None and by_card and spec.split is not None:
        config = config.of_split(spec.split, where=spec.name)
    candidates = choose(list(listed), config.globs if config is not None else ())
    globs = (*(config.globs if config is not None else ()), *spec.include)
    chosen_by = f" matches {' '.join(globs)}" if globs else ""
    chosen = choose(candidates, spec.include)
    if spec.split is not None and not by_card:
        chosen = of_split(chosen, spec.split, where=spec.name)
    taken = readable(chosen, listed, spec.input, included=bool(spec.include), where=spec.name, chosen_by=chosen_by)
    dataset = Dataset(
        kind="hub",
        name=spec.name,
        root=spec.name,
        revision=revision,
        text_column=spec.text_column,
        endpoint=endpoint,
        input=taken.form,
    )
    files = tuple(_source_file(listed[path]) for path in taken.paths)
    notes = config.notes if config is not None else ()
    if not (spec.include or spec.split or by_card):
        notes = (*notes, *split_notes(taken.paths))
    locations: dict[str, str] = {}
    look_for_text(dataset, files, partial(_open, dataset, locations))
    return Catalog(dataset, files, (*notes, *taken.notes), locations)


def _source_file(item: RepoFile) -> SourceFile:
    content_id = f"sha256:{item.lfs.sha256}" if item.lfs is not None else f"git:{item.blob_id}"
    return SourceFile(path=item.path, size=item.size, content_id=content_id)


def _card_configs(api: huggingface_hub.HfApi, spec: DatasetSpec, revision: str) -> tuple[CardConfig, ...]:
    path = api.hf_hub_download(spec.name, "README.md", repo_type="dataset", revision=revision)
    try:
        return configs_of(huggingface_hub.DatasetCard.load(path, ignore_metadata_errors=True))
    except Exception as error:  # YAML's errors, and the card's own, have no root in common
        raise CatalogError(f"{spec.name}: its card cannot be read; choose files with --include: {error}") from error


def _open(dataset: Dataset, locations: dict[str, str], unit: Unit, stack: ExitStack) -> SpanFile:
    """A file on the Hub; where it lies, as it cost a resolve to see, is kept."""
    source = HubFile(dataset, unit, Options(retry_seconds=60.0))
    stack.callback(source.close)
    file = SpanFile(source.fetch, unit.size)
    stack.callback(file.close)
    source.locate()
    if source.location is not None:
        locations[unit.path] = source.location
    if unit.path.endswith(".parquet"):
        file.keep_tail(_FOOTER_BYTES)
    return file


@contextmanager
def _explained(spec: DatasetSpec, endpoint: str) -> Iterator[None]:
    """Turn errors of the Hub client into what the user can do."""
    page = f"{endpoint}/datasets/{spec.name}"
    try:
        yield
    except GatedRepoError as error:
        raise CatalogError(
            f"{spec.name}: gated; ask for access on {page}, then set HF_TOKEN to a token of that account"
        ) from error
    except RevisionNotFoundError as error:
        raise CatalogError(
            f"{spec.name}: no revision {spec.revision!r}; its branches and tags are on {page}"
        ) from error
    except RepositoryNotFoundError as error:
        raise CatalogError(
            f"{spec.name}: no such dataset on {endpoint}, or a private one: then set HF_TOKEN to a token "
            "that may read it"
        ) from error
    except HFValidationError as error:
        raise CatalogError(f"{spec.name!r}: neither a directory nor owner/name on the Hub: {error}") from error
    except EntryNotFoundError as error:
        raise CatalogError(f"{spec.name}: {error}") from error
    except HfHubHTTPError as error:
        raise CatalogError(f"{spec.name}: {endpoint} answers: {error}; try again later") from error
    except (httpx2.TransportError, httpx2.InvalidURL, OfflineModeIsEnabled, OSError) as error:
        raise CatalogError(
            f"{spec.name}: {endpoint} cannot be reached ({error}); check the network, HF_ENDPOINT and HF_HUB_OFFLINE"
        ) from error
    except ValueError as error:
        raise CatalogError(
            f"{spec.name}: {endpoint} does not answer as the Hub does ({error}); check HF_ENDPOINT and proxies"
        ) from error
