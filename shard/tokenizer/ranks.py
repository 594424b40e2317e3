"""tiktoken encodings and their published rank files.

A rank file holds ranks alone; pattern and special tokens of an encoding come from tiktoken's own definition. tiktoken
reads a rank file offline when its cache directory holds it under the sha1 of its address, so that is the name under
which a rank file travels to the hosts.
"""

import base64
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tiktoken

from shard.errors import TokenizerError
from shard.tokenizer.panics import panics_named

_CACHE_VARIABLE = "TIKTOKEN_CACHE_DIR"


@dataclass(frozen=True, slots=True)
class RankFile:
    """One published rank file and the encoding that it belongs to."""

    encoding: str
    sha256: str
    pretokenizer: str
    """gigatoken's name for the pattern."""

    @property
    def url(self) -> str:
        return f"https://openaipublic.blob.core.windows.net/encodings/{self.encoding}.tiktoken"

    @property
    def cache_name(self) -> str:
        """File name in tiktoken's cache directory."""
        return hashlib.sha1(self.url.encode(), usedforsecurity=False).hexdigest()


_R50K = RankFile("r50k_base", "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930", "gpt2")
_P50K = RankFile("p50k_base", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069", "gpt2")
_CL100K = RankFile("cl100k_base", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7", "gpt4")
_O200K = RankFile("o200k_base", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d", "o200k")

RANK_FILES: Mapping[str, RankFile] = {
    "gpt2": _R50K,  # the same ranks, pattern and specials, in a file of another form
    "r50k_base": _R50K,
    "p50k_base": _P50K,
    "cl100k_base": _CL100K,
    "o200k_base": _O200K,
}


def by_sha256(digest: str) -> RankFile | None:
    """The published rank file with this sha256 (hex), if there is one."""
    return next((file for file in RANK_FILES.values() if file.sha256 == digest), None)


def without_gaps(data: bytes) -> bytes:
    """The rank file with unused ids given to pairs of bytes that no UTF-8 text holds, so that nothing changes.

    gigatoken wants every id taken; p50k_base leaves 50256 to `<|endoftext|>`.
    """
    tokens = {int(rank): token for token, rank in (line.split() for line in data.splitlines())}
    gaps = (i for i in range(max(tokens)) if i not in tokens)
    tokens |= {
        i: base64.b64encode(bytes((0xFF, second))) for i, second in zip(gaps, range(0xFF, 0xF7, -1), strict=False)
    }
    return b"".join(b"%b %d\n" % (tokens[i], i) for i in sorted(tokens))


@contextmanager
def _looking_into(directory: Path) -> Iterator[None]:
    """tiktoken has no other way in: it looks for its definitions' files where the environment says, and checks their
    sha256. Whoever set the variable has it back: the next rank file may lie there."""
    before = os.environ.get(_CACHE_VARIABLE)
    os.environ[_CACHE_VARIABLE] = str(directory)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CACHE_VARIABLE]
        else:
            os.environ[_CACHE_VARIABLE] = before


class TiktokenReference:
    """tiktoken itself, reading `<directory>/<cache_name>`."""

    def __init__(self, rank_file: RankFile, directory: Path) -> None:
        if not (directory / rank_file.cache_name).is_file():
            raise TokenizerError(f"{directory}: no rank file of {rank_file.encoding}; launch again to send it anew")
        self.name = f"tiktoken {tiktoken.__version__} {rank_file.encoding}"
        with _looking_into(directory):
            self._encoding = tiktoken.get_encoding(rank_file.encoding)

    @property
    def vocab_size(self) -> int:
        return self._encoding.n_vocab

    @property
    def eod_id(self) -> int:
        return self._encoding.eot_token

    def encode(self, document: bytes) -> list[int]:
        with panics_named("tiktoken"):
            return self._encoding.encode_ordinary(document.decode("utf-8"))

    def decode(self, ids: Sequence[int]) -> str:
        return self._encoding.decode(list(ids))

    def token_bytes(self) -> dict[int, bytes]:
        special = {self._encoding.encode_single_token(token) for token in self._encoding.special_tokens_set}
        found = dict.fromkeys(special, b"")
        for token in range(self.vocab_size):
            try:
                found.setdefault(token, self._encoding.decode_single_token_bytes(token))
            except KeyError:  # the encoding leaves this id out
                continue
        return found
