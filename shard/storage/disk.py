"""Files that appear whole or not at all, and what they hold."""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shard.errors import DiskFullError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Write a file by temporary name, fsync and rename; the caller fsyncs the directory.

    Not `durable` leaves out the fsync: for what is soon written again. Raises DiskFullError when there is no space.
    """
    # Not the process id: on a shared file system two hosts may have the same.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with disk_full_named(path):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def make_directory(path: Path) -> None:
    """Make a directory and its parents, where they are not there. Raises DiskFullError."""
    with disk_full_named(path):
        path.mkdir(parents=True, exist_ok=True)


def open_private(path: Path) -> BinaryIO:
    """A file to append to, unbuffered, made for this user's eyes alone whatever the umask."""
    return open(path, "ab", buffering=0, opener=lambda name, flags: os.open(name, flags, 0o600))


def fsync_directory(directory: Path) -> None:
    """Make the renames in a directory last, where the file system knows how to."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network and user-space file systems sync directories by themselves
            raise
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Hex, of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_full(error: OSError) -> bool:
    """Whether there is no space, or none for this user."""
    return error.errno in _FULL


@contextmanager
def disk_full_named(path: Path) -> Iterator[None]:
    """Turn "no space left" into a DiskFullError that says where."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise DiskFullError(
                f"{path.parent}: {error.strerror}; free space there and start again: what is finished is kept"
            ) from error
        raise
