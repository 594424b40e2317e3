"""One shard against its record: sizes, hashes, boundaries, ids."""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shard.errors import VerificationError
from shard.formats.megatron import Index, read_index
from shard.formats.payload import DTYPES
from shard.job import TokenizerSpec
from shard.records import DIRECTORY_FILE, DirectoryRecord, ShardRecord, TokenizerFacts
from shard.tokenizer.ranks import by_sha256
from shard.tokenizer.raw_bytes import EOD_ID
from shard.trainers import ALIASES

_CHUNK_BYTES = 4 << 20
# Ids that no text is ever encoded to, by encoding: these may stand at the end of a document and nowhere else.
_NEVER_TEXT = {"r50k_base": 50256, "p50k_base": 50256, "cl100k_base": 100257, "o200k_base": 199999}

Problem = tuple[Path, str]
"""The file that is wrong, and what is wrong with it."""


def check_shard(directory: Path, record: ShardRecord, common: DirectoryRecord) -> list[Problem]:
    """Compare payload, index and sidecars of one shard with its record and with each other."""
    base = directory / f"{record.unit:06d}"
    index_path, payload_path, named = base.with_suffix(".idx"), base.with_suffix(".bin"), f"{base.name}.json"
    problems: list[Problem] = []
    try:
        index, wrong = _check_index(index_path, record, common, named)
    except (OSError, VerificationError) as error:
        index, wrong = None, [_said(error, index_path)]
    problems += ((index_path, problem) for problem in wrong)
    try:
        # Against a damaged index every payload looks wrong.
        wrong = _check_payload(payload_path, record, common, None if wrong else index, named)
    except OSError as error:
        wrong = [_said(error, payload_path)]
    problems += ((payload_path, problem) for problem in wrong)
    for suffix, expected in record.sidecars.items():
        path = Path(f"{base}.{suffix}")
        try:
            # Another name of the payload, which has been read.
            if suffix in ALIASES and path.samefile(payload_path):
                continue
            digest = _sha256(path)
        except OSError as error:
            problems.append((path, _said(error, path)))
        else:
            if digest != expected:
                problems.append((path, f"sha256 {digest}; {named} says {expected}"))
    return problems


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_index(
    path: Path, record: ShardRecord, common: DirectoryRecord, named: str
) -> tuple[Index | None, list[str]]:
    digest = _sha256(path)
    index = read_index(path)
    problems: list[str] = []
    if digest != record.index_sha256:
        problems.append(f"sha256 {digest}; {named} says {record.index_sha256}")
    if index.dtype != common.dtype:
        problems.append(f"tokens of {index.dtype}; {DIRECTORY_FILE} says {common.dtype}")
    if len(index.lengths) != record.documents:
        problems.append(f"{len(index.lengths)} documents; {named} says {record.documents}")
    # [documents + 1] int64: where each document begins, and where the payload ends
    starts = np.zeros(len(index.lengths) + 1, dtype=np.int64)
    np.cumsum(index.lengths, dtype=np.int64, out=starts[1:])
    if starts[-1] != record.tokens:
        problems.append(f"its documents have {starts[-1]} tokens; {named} says {record.tokens}")
    shortest = 0 if common.tokenizer.eod_id is None else 1
    if len(index.lengths) and index.lengths.min() < shortest:
        problems.append(f"document {int(index.lengths.argmin())} has {index.lengths.min()} tokens")
    differing = np.flatnonzero(index.byte_offsets != starts[:-1] * DTYPES[common.dtype].itemsize)
    if len(differing):
        problems.append(f"document {differing[0]} does not begin where the one before it ends")
    return index, problems


def _check_payload(
    path: Path, record: ShardRecord, common: DirectoryRecord, index: Index | None, named: str
) -> list[str]:
    dtype = DTYPES[common.dtype]
    size = path.stat().st_size
    if size != record.payload_bytes:
        return [f"{size} bytes; {named} says {record.payload_bytes}"]
    if size != record.tokens * dtype.itemsize:
        return [f"{size} bytes; the {record.tokens} tokens of {named} take {record.tokens * dtype.itemsize}"]
    digest = hashlib.sha256()
    tokens = _TokenCheck(common, index)
    buffer = memoryview(bytearray(min(_CHUNK_BYTES, max(size, 1))))
    read = 0
    with path.open("rb", buffering=0) as file:
        # A short read would split a token: fill the buffer, except at the end.
        while (filled := _fill(file.readinto, buffer)) > 0:
            digest.update(buffer[:filled])
            read += filled
            if filled % dtype.itemsize == 0:
                tokens.look_at(np.frombuffer(buffer[:filled], dtype=dtype))
    problems = tokens.problems()
    if read != size:
        problems.append(f"{read} bytes could be read of {size}")
    if digest.hexdigest() != record.payload_sha256:
        problems.append(f"sha256 {digest.hexdigest()}; {named} says {record.payload_sha256}")
    return problems


class _TokenCheck:
    """Looks at the tokens of one payload, chunk after chunk."""

    def __init__(self, common: DirectoryRecord, index: Index | None) -> None:
        self._vocab_size = common.tokenizer.vocab_size
        self._eod_id = common.tokenizer.eod_id if index is not None else None
        self._only_at_ends = self._eod_id is not None and self._eod_id == never_text(common.tokenizer)
        # [documents] int64: position of the last token of every document
        self._ends = np.cumsum(index.lengths, dtype=np.int64) - 1 if index is not None else np.empty(0, dtype=np.int64)
        self._position = 0
        self._first: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    def look_at(self, tokens: NDArray[np.uint16] | NDArray[np.uint32]) -> None:
        """The next tokens."""
        start = self._position
        self._position += len(tokens)
        if len(tokens) and tokens.max() >= self._vocab_size:
            outside = np.flatnonzero(tokens >= self._vocab_size)
            first = f"token {start + outside[0]} is {tokens[outside[0]]}, outside the vocabulary of {self._vocab_size}"
            self._note("vocabulary", first, len(outside))
        if self._eod_id is None:
            return
        first_document, past = np.searchsorted(self._ends, (start, self._position))
        # [ends in this chunk] positions relative to the chunk
        ends = self._ends[first_document:past] - start
        is_eod = tokens == self._eod_id
        lacking = np.flatnonzero(~is_eod[ends])
        if len(lacking):
            document = first_document + lacking[0]
            first = f"document {document} ends at token {self._ends[document]} without the end-of-document id"
            self._note("end", first, len(lacking))
        if self._only_at_ends and np.count_nonzero(is_eod) != len(ends) - len(lacking):
            is_eod[ends] = False
            inside = np.flatnonzero(is_eod)
            self._note("inside", f"end-of-document id at token {start + inside[0]}, inside a document", len(inside))

    def problems(self) -> list[str]:
        """What was wrong: the first of each kind, and how many more."""
        return [
            first + (f" (and {self._count[kind] - 1} more)" if self._count[kind] > 1 else "")
            for kind, first in self._first.items()
        ]

    def _note(self, kind: str, first: str, count: int) -> None:
        self._first.setdefault(kind, first)
        self._count[kind] += count


def never_text(tokenizer: TokenizerFacts | TokenizerSpec) -> int | None:
    """The end-of-document id that no text of this tokenizer is encoded to, where that is known."""
    if tokenizer.kind == "bytes":
        return EOD_ID
    file = by_sha256(tokenizer.sha256)
    return _NEVER_TEXT[file.encoding] if file is not None else None


def _fill(readinto: Callable[[memoryview], int | None], buffer: memoryview) -> int:
    filled = 0
    while filled < len(buffer) and (count := readinto(buffer[filled:])):
        filled += count
    return filled


def _said(error: Exception, path: Path) -> str:
    """An error's words without the path, which stands before them anyway."""
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    return str(error).removeprefix(f"{path}: ")
