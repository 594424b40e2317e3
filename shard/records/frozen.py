"""Frozen records as JSON: one spelling when written, checked when read, sealed where they lie beside data."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from shard.errors import JobError

_SEAL = re.compile(rb',"seal":"([0-9a-f]{64})"}')
_SEAL_BYTES = len(',"seal":""}') + 64
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all records: immutable, keyword-only, unknown fields refused."""


def canonical_json(value: object) -> bytes:
    """One spelling for equal values: sorted keys, no spaces, UTF-8."""
    return msgspec.json.encode(value, order="sorted")


def sealed_json(value: object) -> bytes:
    """Canonical JSON of an object whose last member, `seal`, is the sha256 (hex) of all before it and the brace."""
    data = canonical_json(value)
    return b'%b,"seal":"%b"}' % (data[:-1], hashlib.sha256(data).hexdigest().encode())


def unsealed(data: bytes) -> bytes:
    """What was sealed. Raises JobError when a byte of it, or of the seal, is another."""
    content = data[:-_SEAL_BYTES] + b"}"
    seal = _SEAL.fullmatch(data[-_SEAL_BYTES:])
    if seal is None:
        raise JobError("it does not end with its seal: cut short, damaged, or not written by shardfleet")
    if hashlib.sha256(content).hexdigest().encode() != seal[1]:
        raise JobError("its seal is not that of its content: damaged, or changed by hand")
    return content


R = TypeVar("R")


def read_record(path: Path | str, kind: type[R]) -> R:
    """The record in a JSON file.

    Raises JobError, naming file and field, when the file is missing, unreadable, or not such a record.
    """
    return _decoded(path, kind, _read(path))


def read_sealed(path: Path | str, kind: type[R]) -> R:
    """The same for one that was written with its seal."""
    return _decoded(path, kind, _read(path), unsealed)


def _read(path: Path | str) -> bytes:
    try:
        # Not Path.read_bytes(), nor a buffer: a host may have 20,000 of them to read.
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.readall()
    except OSError as error:
        raise JobError(f"{path}: {error.strerror or error}; is it the right directory?") from error


def _decoded(path: Path | str, kind: type[R], data: bytes, opened: Callable[[bytes], bytes] = bytes) -> R:
    try:
        return msgspec.json.decode(opened(data), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, JobError) as error:
        raise JobError(f"{path}: not a {kind.__name__} record: {error}") from error


def stays_below(path: str) -> bool:
    """Whether a relative path names something below where it starts, whatever lies there (symbolic links aside)."""
    return not path.startswith("/") and "\0" not in path and ".." not in path.split("/")


def is_text(value: str) -> bool:
    """Whether JSON can hold it. It cannot hold lone surrogates, which bytes that are not UTF-8 become in Python."""
    return not _SURROGATE.search(value)


def require_directory(field: str, path: str) -> None:
    """Raise JobError unless a path is a whole one, or below a home, and can stand in a line."""
    require(path.startswith(("/", "~/")), f"{field} {path!r} is not a whole path")
    require(not _CONTROL.search(path), f"{field} {path!r} holds a control character")


def require(condition: bool, message: str) -> None:
    if not condition:
        raise JobError(message)
