"""Real text and real vocabularies for tests, from what a machine has.

The shared data directory when it is there (SHARDFLEET_TEST_DATA, or ../shared/data beside the checkout), else the
sources and help texts of the Python standard library, and GPT-2's ranks from a package on the index.
"""

import hashlib
import io
import os
import pydoc_data.topics
import re
import sysconfig
import tarfile
import urllib.request
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from urllib.parse import urljoin

import pyarrow.parquet as pq
import tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from shard.tokenizer.ranks import RANK_FILES
from tests.support.data import data_directory

_DOCUMENT_CHARACTERS = 3000


class UnavailableError(Exception):
    """What a test needs is neither on this machine nor on the package index."""


def real_documents(count: int) -> list[str]:
    """`count` distinct documents of a few kilobytes: web text when there is some, else the standard library's."""
    directory = data_directory()
    found = library_documents() if directory is None else _web_documents(directory)
    documents = list(islice(found, count))
    if len(documents) < count:
        raise UnavailableError(f"only {len(documents)} documents of real text on this machine, wanted {count}")
    return documents


def library_documents() -> Iterator[str]:
    """The help texts and sources of the standard library, cut at blank lines into documents."""
    seen: set[str] = set()
    for text in _library_texts():
        document = ""
        for paragraph in text.split("\n\n"):
            document += paragraph + "\n\n"
            if len(document) > _DOCUMENT_CHARACTERS:
                if document not in seen:
                    seen.add(document)
                    yield document
                document = ""


def rank_file(encoding: str) -> bytes:
    """The published rank file of an encoding, its sha256 checked. Raises UnavailableError with the reason."""
    directory = data_directory()
    published = RANK_FILES[encoding]
    local = directory / "tokenizers" / f"{published.encoding}.tiktoken" if directory is not None else None
    if local is not None and local.is_file():
        data = local.read_bytes()
    elif published.encoding == "r50k_base":
        data = _ranks_of_whisper()
    else:
        raise UnavailableError(f"no rank file of {encoding} on this machine")
    digest = hashlib.sha256(data).hexdigest()
    if digest != published.sha256:
        raise UnavailableError(f"the rank file of {encoding} found has sha256 {digest}, not {published.sha256}")
    return data


def train_small_tokenizer(path: Path, *, vocab_size: int = 2000) -> None:
    """Train a byte-level BPE on the standard library's text and write its `tokenizer.json`."""
    tokenizer = tokenizers.Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(islice(library_documents(), 300), trainer)
    tokenizer.save(str(path))


def _web_documents(directory: Path) -> Iterator[str]:
    for path in sorted((directory / "fineweb-sample").rglob("*.parquet")):
        yield from pq.read_table(path, columns=["text"])["text"].to_pylist()


def _library_texts() -> Iterable[str]:
    yield from pydoc_data.topics.topics.values()
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        yield path.read_text(encoding="utf-8", errors="replace")


def _ranks_of_whisper() -> bytes:
    """GPT-2's ranks as openai-whisper ships them, kept in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shardfleet-tests" / "r50k_base.tiktoken"
    if cache.is_file():
        return cache.read_bytes()
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/openai-whisper/"
    try:
        with urllib.request.urlopen(index, timeout=30) as answer:
            links = re.findall(r'href="([^"]+\.tar\.gz[^"]*)"', answer.read().decode())
        with urllib.request.urlopen(urljoin(index, links[-1].partition("#")[0]), timeout=120) as answer:
            sdist = io.BytesIO(answer.read())
        with tarfile.open(fileobj=sdist) as archive:
            member = next(name for name in archive.getnames() if name.endswith("whisper/assets/gpt2.tiktoken"))
            file = archive.extractfile(member)
            assert file is not None
            data = file.read()
    except (OSError, IndexError, StopIteration, tarfile.TarError) as error:
        raise UnavailableError(f"no GPT-2 ranks: not in the shared data, and {index}: {error!r}") from error
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_suffix(f".{os.getpid()}")
    partial.write_bytes(data)
    partial.replace(cache)
    return data
