"""`--tokenizer` → what it is, and its file. Fetched here once; no host ever downloads one."""

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from tiktoken.load import read_file_cached

from provision.errors import InputError
from provision.tokenizer.files import Found, files_in, files_on_hub
from shard.errors import JobError, TokenizerError
from shard.records.frozen import is_text
from shard.records.job import TokenizerSpec
from shard.tokenizer.hf import HfReference
from shard.tokenizer.ranks import RANK_FILES, RankFile, TiktokenReference, by_sha256
from shard.tokenizer.raw_bytes import EOD_ID, VOCAB_SIZE
from shard.tokenizer.spm import SentencePieceReference

NO_EOD = "none"
OWN = "own"
_SUFFIXES = (".json", ".model", ".tiktoken")
"""Of what can only be meant as a file."""


@dataclass(frozen=True, slots=True)
class FetchedTokenizer:
    """A tokenizer that is ready to travel."""

    spec: TokenizerSpec
    data: bytes
    """Of the file `spec.file`; empty for `bytes`."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """What is to stand around documents, as the user says it."""

    eod: str | None
    bos: str | None

    def ids(self, name: str, own_eod: int | None, own_bos: int | None) -> tuple[int | None, int | None]:
        """The ids after and before every document. Raises InputError."""
        return self._eod_id(name, own_eod), self._bos_id(name, own_bos)

    def _eod_id(self, name: str, own: int | None) -> int | None:
        if self.eod is None:
            if own is None:
                raise InputError(
                    f"{name}: which token ends a document is not known; give its id with --eod, or --eod none"
                )
            return own
        return None if self.eod == NO_EOD else _id("--eod", self.eod, NO_EOD)

    def _bos_id(self, name: str, own: int | None) -> int | None:
        if self.bos == OWN:
            if own is None:
                raise InputError(f"{name}: has no token of its own that begins a document; give its id: --bos ID")
            return own
        return None if self.bos is None else _id("--bos", self.bos, OWN)


def fetch_tokenizer(name: str, *, eod: str | None = None, bos: str | None = None) -> FetchedTokenizer:
    """The tokenizer that the user means.

    `name` is a tiktoken encoding, `bytes`, a `.tiktoken` rank file, a `tokenizer.json` or SentencePiece `.model` file,
    a directory that holds either, or `hf:owner/name`. `eod` is None for the tokenizer's own end-of-document id, `none`
    for none, or an id; `bos` is None for no beginning-of-document id, `own` for the tokenizer's, or an id.
    Raises InputError.
    """
    if not is_text(name):
        raise InputError(f"--tokenizer {name!r}: holds bytes that are not UTF-8; rename the file")
    frame = _Frame(eod, bos)
    try:
        if name == "bytes":
            return _bytes(frame)
        if name in RANK_FILES:
            return _ranks(name, RANK_FILES[name], _published(RANK_FILES[name]), frame)
        return _of_files(name, _look_up(name), frame)
    except (TokenizerError, JobError) as error:
        raise InputError(str(error)) from error


def fetch_tokenizer_json(name: str) -> bytes:
    """The tokenizer.json of a file, a directory or a model on the Hub. Raises InputError where there is none."""
    if (name in RANK_FILES or name == "bytes") and not os.path.exists(name):  # noqa: PTH110  as below
        raise InputError(
            f"--reference {name}: ranks alone, and no configuration; name a model of the Hub, as "
            "openai-community/gpt2, or leave it out: without one, bpe has GPT-2's"
        )
    # As the Hub writes it, too, where no such directory is: seed commands name their reference so.
    on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name) and not os.path.exists(name)  # noqa: PTH110  as below
    found = _look_up(f"hf:{name}" if on_hub else name)
    if found.kind != "json":
        raise InputError(f"{name}: has no tokenizer.json, which is what holds a configuration to train after")
    return found.data


def _look_up(name: str) -> Found:
    if name.startswith("hf:"):
        return files_on_hub(name)
    found = files_in(Path(os.path.expanduser(name)), name)  # noqa: PTH111  the other raises for '~nobody'
    if found is None:
        if name.endswith(_SUFFIXES) or name.startswith(("/", "./", "../", "~")):
            raise InputError(f"{name}: no such tokenizer: there is no file or directory of that name")
        raise InputError(
            f"{name!r}: no such tokenizer; there are {', '.join(RANK_FILES)}, bytes, hf:owner/name, "
            "a .tiktoken file, a tokenizer.json, a SentencePiece .model, and directories that hold one of these two"
        )
    return found


def _bytes(frame: _Frame) -> FetchedTokenizer:
    eod_id, bos_id = frame.ids("bytes", EOD_ID, None)
    spec = TokenizerSpec(
        name="bytes",
        kind="bytes",
        vocab_size=VOCAB_SIZE,
        eod_id=eod_id,
        bos_id=bos_id,
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


def _ranks(name: str, rank_file: RankFile, data: bytes, frame: _Frame) -> FetchedTokenizer:
    with TemporaryDirectory() as directory:
        (Path(directory) / rank_file.cache_name).write_bytes(data)
        reference = TiktokenReference(rank_file, Path(directory))
        eod_id, bos_id = frame.ids(name, reference.eod_id, None)
        spec = TokenizerSpec(
            name=name,
            kind="tiktoken",
            vocab_size=reference.vocab_size,
            eod_id=eod_id,
            bos_id=bos_id,
            sha256=rank_file.sha256,
            file=rank_file.cache_name,
        )
    return FetchedTokenizer(spec, data)


def _of_files(name: str, found: Found, frame: _Frame) -> FetchedTokenizer:
    digest = hashlib.sha256(found.data).hexdigest()
    rank_file = by_sha256(digest)
    if rank_file is not None:
        return _ranks(rank_file.encoding, rank_file, found.data, frame)
    if found.kind == "ranks":
        known = ", ".join(sorted({file.encoding for file in RANK_FILES.values()}))
        raise InputError(
            f"{name}: its sha256 is that of no published rank file ({known}); "
            "a rank file carries no pattern, so another cannot be used: give its tokenizer.json instead"
        )
    spm = found.kind == "model"
    reference = SentencePieceReference(found.data, origin=name) if spm else HfReference(found.data, origin=name)

    def own(token: str | None, known: Callable[[], int | None]) -> int | None:
        return reference.token_id(token) if token is not None else known()

    eod_id, bos_id = frame.ids(name, own(found.eos_token, reference.eod_id), own(found.bos_token, reference.bos_id))
    spec = TokenizerSpec(
        name=name,
        kind="sentencepiece" if spm else "hf",
        vocab_size=reference.vocab_size,
        eod_id=eod_id,
        bos_id=bos_id,
        sha256=digest,
        file="tokenizer.model" if spm else "tokenizer.json",
    )
    return FetchedTokenizer(spec, found.data)


def _id(option: str, value: str, word: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", value):
        raise InputError(f"{option} {value!r}: neither {word} nor a token id")
    return int(value)
