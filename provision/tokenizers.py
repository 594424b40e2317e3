"""`--tokenizer` → what it is, and its file. Fetched here once; no host ever downloads one."""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import huggingface_hub
import requests
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from tiktoken.load import read_file_cached

from provision.errors import InputError
from shard.errors import JobError, TokenizerError
from shard.frozen import is_text
from shard.job import TokenizerSpec
from shard.tokenizer.hf import HfReference
from shard.tokenizer.ranks import RANK_FILES, RankFile, TiktokenReference, by_sha256
from shard.tokenizer.raw_bytes import EOD_ID, VOCAB_SIZE

NO_EOD = "none"


@dataclass(frozen=True, slots=True)
class FetchedTokenizer:
    """A tokenizer that is ready to travel."""

    spec: TokenizerSpec
    data: bytes
    """Of the file `spec.file`; empty for `bytes`."""


def fetch_tokenizer(name: str, *, eod: str | None = None) -> FetchedTokenizer:
    """The tokenizer that the user means.

    `name` is a tiktoken encoding, `bytes`, a `.tiktoken` rank file, a `tokenizer.json` file, or `hf:owner/name`.
    `eod` is None for the tokenizer's own end-of-document id, `none` for none, or an id.
    Raises InputError.
    """
    if not is_text(name):
        raise InputError(f"--tokenizer {name!r}: holds bytes that are not UTF-8; rename the file")
    try:
        if name == "bytes":
            return _bytes(eod)
        if name in RANK_FILES:
            return _ranks(name, RANK_FILES[name], _published(RANK_FILES[name]), eod)
        if name.startswith("hf:"):
            return _from_hub(name, eod)
        return _from_file(Path(os.path.expanduser(name)), name, eod)  # noqa: PTH111  the other raises for '~nobody'
    except (TokenizerError, JobError) as error:
        raise InputError(str(error)) from error


def _bytes(eod: str | None) -> FetchedTokenizer:
    spec = TokenizerSpec(
        name="bytes",
        kind="bytes",
        vocab_size=VOCAB_SIZE,
        eod_id=_eod_id(eod, EOD_ID, "bytes"),
        sha256=hashlib.sha256(b"").hexdigest(),
    )
    return FetchedTokenizer(spec, b"")


def _published(rank_file: RankFile) -> bytes:
    try:
        return read_file_cached(rank_file.url, rank_file.sha256)
    except (requests.RequestException, OSError, ValueError) as error:
        raise InputError(
            f"{rank_file.encoding}: {rank_file.url} cannot be fetched ({error}); download it elsewhere and give the "
            "file to --tokenizer, or set TIKTOKEN_CACHE_DIR to a directory that holds it"
        ) from error


def _ranks(name: str, rank_file: RankFile, data: bytes, eod: str | None) -> FetchedTokenizer:
    with TemporaryDirectory() as directory:
        (Path(directory) / rank_file.cache_name).write_bytes(data)
        reference = TiktokenReference(rank_file, Path(directory))
        spec = TokenizerSpec(
            name=name,
            kind="tiktoken",
            vocab_size=reference.vocab_size,
            eod_id=_eod_id(eod, reference.eod_id, name),
            sha256=rank_file.sha256,
            file=rank_file.cache_name,
        )
    return FetchedTokenizer(spec, data)


def _from_hub(name: str, eod: str | None) -> FetchedTokenizer:
    repository, _, revision = name.removeprefix("hf:").partition("@")
    if ".." in revision:  # of which the client would make a path in its cache
        raise InputError(f"{name}: {revision!r} is no name of a branch, tag or commit")
    data = _hub_file(name, repository, revision, "tokenizer.json")
    if data is None:
        raise InputError(f"{name}: that repository has no tokenizer.json")
    config = _hub_file(name, repository, revision, "tokenizer_config.json")
    return _hf(name, data, eod, eos_token=_eos_token(name, config) if config is not None else None)


def _hub_file(name: str, repository: str, revision: str, file: str) -> bytes | None:
    """A file of a model repository; None when the repository has none of that name."""
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file, revision=revision or None)).read_bytes()
    except HFValidationError as error:
        raise InputError(f"{name}: write hf:owner/name: {error}") from error
    except (HfHubHTTPError, httpx2.TransportError, OSError) as error:
        # Not on the Hub is another thing than not in the cache while the Hub is out of reach.
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return None
        raise InputError(f"{name}: {file} cannot be fetched: {error}") from error


def _eos_token(name: str, config: bytes) -> str | None:
    """The end-of-sequence token that a tokenizer_config.json names."""
    try:
        eos = json.loads(config)["eos_token"]
    except KeyError:
        return None
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: its tokenizer_config.json cannot be read: {error}") from error
    token = eos.get("content") if isinstance(eos, dict) else eos
    return token if isinstance(token, str) else None


def _from_file(path: Path, name: str, eod: str | None) -> FetchedTokenizer:
    if os.path.isdir(path):  # noqa: PTH112  Path.is_dir() raises for a name that is too long
        path = path / "tokenizer.json"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{name!r}: no such tokenizer; there are {', '.join(RANK_FILES)}, bytes, hf:owner/name, "
            "a .tiktoken file and a tokenizer.json file"
        ) from None
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from error
    rank_file = by_sha256(hashlib.sha256(data).hexdigest())
    if rank_file is not None:
        return _ranks(rank_file.encoding, rank_file, data, eod)
    if path.suffix == ".tiktoken":
        known = ", ".join(sorted({file.encoding for file in RANK_FILES.values()}))
        raise InputError(
            f"{name}: its sha256 is that of no published rank file ({known}); "
            "a rank file carries no pattern, so another cannot be used: give its tokenizer.json instead"
        )
    return _hf(name, data, eod, eos_token=None)


def _hf(name: str, data: bytes, eod: str | None, *, eos_token: str | None) -> FetchedTokenizer:
    reference = HfReference(data, origin=name)
    own = reference.token_id(eos_token) if eos_token else reference.eod_id()
    spec = TokenizerSpec(
        name=name,
        kind="hf",
        vocab_size=reference.vocab_size,
        eod_id=_eod_id(eod, own, name),
        sha256=hashlib.sha256(data).hexdigest(),
        file="tokenizer.json",
    )
    return FetchedTokenizer(spec, data)


def _eod_id(eod: str | None, own: int | None, name: str) -> int | None:
    if eod is None:
        if own is None:
            raise InputError(f"{name}: which token ends a document is not known; give its id with --eod, or --eod none")
        return own
    if eod == NO_EOD:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", eod):
        raise InputError(f"--eod {eod!r}: neither {NO_EOD} nor a token id")
    return int(eod)
