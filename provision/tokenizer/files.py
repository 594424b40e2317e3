"""The files of a tokenizer, in a directory or on the Hub, and the tokens that they name."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx2
import huggingface_hub
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from provision.errors import InputError

JSON = "tokenizer.json"
_MODELS = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_NAMING = ("tokenizer_config.json", "special_tokens_map.json")
"""Files that name the tokens which begin and end a sequence, the more binding first."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a name leads to."""

    data: bytes
    kind: Literal["json", "model", "ranks"]
    eos_token: str | None = None
    """Text of the token that ends a sequence, where the files beside it say so."""
    bos_token: str | None = None


_Read = Callable[[str], bytes | None]
"""A file's content by its name; None when there is no such file."""


def files_in(path: Path, name: str) -> Found | None:
    """A file, or what a directory holds; None when there is neither. Raises InputError."""
    if os.path.isdir(path):  # noqa: PTH112  Path.is_dir() raises for a name that is too long
        return _found(name, lambda file: _local(path / file, name), "it")
    data = _local(path, name)
    if data is None:
        return None
    if path.suffix in (".tiktoken", ".model"):
        return Found(data, "ranks" if path.suffix == ".tiktoken" else "model")
    return Found(data, "json", *_named(name, lambda file: _local(path.parent / file, name)))


def files_on_hub(name: str) -> Found:
    """What the model repository of `hf:owner/name[@revision]` holds. Raises InputError."""
    repository, _, revision = name.removeprefix("hf:").partition("@")
    if ".." in revision:  # of which the client would make a path in its cache
        raise InputError(f"{name}: {revision!r} is no name of a branch, tag or commit")
    return _found(name, lambda file: _of_hub(name, repository, revision, file), "that repository")


def _found(name: str, read: _Read, where: str) -> Found:
    data = read(JSON)
    if data is not None:
        return Found(data, "json", *_named(name, read))
    for file in _MODELS:
        if (data := read(file)) is not None:
            return Found(data, "model", *_named(name, read))
    raise InputError(f"{name}: {where} has no {JSON} and no {_MODELS[0]}")


def _named(name: str, read: _Read) -> tuple[str | None, str | None]:
    """The end and the beginning of a sequence."""
    found: dict[str, str] = {}
    for file in _NAMING:
        data = read(file)
        for role, token in _tokens(name, file, data).items() if data is not None else ():
            found.setdefault(role, token)
    return found.get("eos_token"), found.get("bos_token")


def _tokens(name: str, file: str, data: bytes) -> dict[str, str]:
    try:
        config = json.loads(data)
        said = {role: config.get(role) for role in ("eos_token", "bos_token")}
    except (ValueError, AttributeError) as error:
        raise InputError(f"{name}: its {file} cannot be read: {error}") from error
    texts = {role: token.get("content") if isinstance(token, dict) else token for role, token in said.items()}
    return {role: text for role, text in texts.items() if isinstance(text, str)}


def _local(path: Path, name: str) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from error


def _of_hub(name: str, repository: str, revision: str, file: str) -> bytes | None:
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision or None)).read_bytes()
    except HFValidationError as error:
        raise InputError(f"{name}: write hf:owner/name: {error}") from error
    except (HfHubHTTPError, httpx2.TransportError, OSError) as error:
        # Not on the Hub is another thing than not in the cache while the Hub is out of reach.
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return None
        raise InputError(f"{name}: {file} cannot be fetched: {_why(error)}") from error


def _why(error: Exception) -> str:
    """In one line: the client's own words for a missing repository are about its function's arguments."""
    place = huggingface_hub.constants.ENDPOINT
    if isinstance(error, RevisionNotFoundError):
        return f"no such branch, tag or commit on {place}"
    if isinstance(error, RepositoryNotFoundError):
        return f"no such model on {place}, or a private or gated one: then set HF_TOKEN to a token that may read it"
    return " ".join(str(error).split())
