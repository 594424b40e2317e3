"""Frozen records as JSON: one spelling when written, checked when read."""

import re
from pathlib import Path
from typing import TypeVar

import msgspec

from shard.errors import JobError

_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all records: immutable, keyword-only, unknown fields refused."""


def canonical_json(value: object) -> bytes:
    """One spelling for equal values: sorted keys, no spaces, UTF-8."""
    return msgspec.json.encode(value, order="sorted")


R = TypeVar("R")


def read_record(path: Path | str, kind: type[R]) -> R:
    """The record in a JSON file.

    Raises JobError, naming file and field, when the file is missing, unreadable, or not such a record.
    """
    try:
        # Not Path.read_bytes(), nor a buffer: a host may have 20,000 of them to read.
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            data = file.readall()
    except OSError as error:
        raise JobError(f"{path}: {error.strerror or error}; is it the right directory?") from error
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, JobError) as error:
        raise JobError(f"{path}: not a {kind.__name__} record: {error}") from error


def stays_below(path: str) -> bool:
    """Whether a relative path names something below where it starts, whatever lies there (symbolic links aside)."""
    return not path.startswith("/") and "\0" not in path and ".." not in path.split("/")


def is_text(value: str) -> bool:
    """Whether JSON can hold it. It cannot hold lone surrogates, which bytes that are not UTF-8 become in Python."""
    return not _SURROGATE.search(value)


def require(condition: bool, message: str) -> None:
    if not condition:
        raise JobError(message)
