"""One shard against its record: sizes, hashes, boundaries, ids."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from shard.errors import VerificationError
from shard.formats.frames import Codec
from shard.formats.megatron import Index, read_index
from shard.formats.payload import DTYPES
from shard.records.shards import DIRECTORY_FILE, DirectoryRecord, ShardRecord
from shard.records.trainers import ALIASES
from shard.storage.disk import file_sha256
from shard.verify.frames import check_frames
from shard.verify.tokens import TokenCheck

_CHUNK_BYTES = 4 << 20
Problem = tuple[Path, str]
"""The file that is wrong, and what is wrong with it."""


def check_shard(
    directory: Path, record: ShardRecord, common: DirectoryRecord, codec: Codec | None = None
) -> list[Problem]:
    """Compare payload, index and sidecars of one shard with its record and with each other.

    A compressed payload is decoded by `codec`; without one only its bytes are compared.
    """
    base = directory / f"{record.unit:06d}"
    index_path, named = base.with_suffix(".idx"), f"{base.name}.json"
    payload_path = base.with_suffix(f".{record.payload_suffix}")
    problems: list[Problem] = []
    try:
        index, wrong = _check_index(index_path, record, common, named)
    except (OSError, VerificationError) as error:
        index, wrong = None, [_said(error, index_path)]
    problems += ((index_path, problem) for problem in wrong)
    try:
        # Against a damaged index every payload looks wrong.
        tokens = TokenCheck(common, None if wrong else index)
        if record.compressed is None:
            wrong = _check_payload(payload_path, record, common, tokens, named)
        else:
            wrong = check_frames(payload_path, record, record.compressed, codec, tokens, named)
    except (OSError, VerificationError) as error:
        wrong = [_said(error, payload_path)]
    problems += ((payload_path, problem) for problem in wrong)
    for suffix, expected in record.sidecars.items():
        path = Path(f"{base}.{suffix}")
        try:
            # Another name of the payload, which has been read.
            if suffix in ALIASES and path.samefile(payload_path):
                continue
            digest = file_sha256(path)
        except OSError as error:
            problems.append((path, _said(error, path)))
        else:
            if digest != expected:
                problems.append((path, f"sha256 {digest}; {named} says {expected}"))
    return problems


def _check_index(
    path: Path, record: ShardRecord, common: DirectoryRecord, named: str
) -> tuple[Index | None, list[str]]:
    digest = file_sha256(path)
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
    shortest = sum(common.tokenizer.frame)
    if len(index.lengths) and index.lengths.min() < shortest:
        problems.append(f"document {int(index.lengths.argmin())} has {index.lengths.min()} tokens")
    differing = np.flatnonzero(index.byte_offsets != starts[:-1] * DTYPES[common.dtype].itemsize)
    if len(differing):
        problems.append(f"document {differing[0]} does not begin where the one before it ends")
    return index, problems


def _check_payload(
    path: Path, record: ShardRecord, common: DirectoryRecord, tokens: TokenCheck, named: str
) -> list[str]:
    dtype = DTYPES[common.dtype]
    size = path.stat().st_size
    if size != record.payload_bytes:
        return [f"{size} bytes; {named} says {record.payload_bytes}"]
    if size != record.tokens * dtype.itemsize:
        return [f"{size} bytes; the {record.tokens} tokens of {named} take {record.tokens * dtype.itemsize}"]
    digest = hashlib.sha256()
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
