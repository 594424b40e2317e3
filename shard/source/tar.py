"""Members of a tar archive, in its order; memory is that of the largest one."""

import tarfile
from collections.abc import Iterator
from typing import Any

from shard.errors import SourceReadError
from shard.source.lines import Readable

_BUFFER_BYTES = 32 << 10
"""tarfile copies what is left of it at every read."""
_BLOCK_BYTES = 512
_TEXT = ".txt"


class _Ending:
    """A stream that remembers the last block that was read of it."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self.last = b""

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if data:
            self.last = (self.last + data[-_BLOCK_BYTES:])[-_BLOCK_BYTES:]
        return data


class Member:
    """A member of an archive, open to be read before the next one is asked for."""

    def __init__(self, name: str, size: int, file: Any, *, where: str) -> None:
        self.name = name
        self.size = size
        self._file = file
        self._where = where

    def read(self, size: int = -1) -> bytes:
        """Raises SourceReadError when the archive ends within it."""
        try:
            data: bytes = self._file.read(size)
        except tarfile.TarError as error:
            raise SourceReadError(f"{self._where}: {self.name}: not a whole tar archive: {error}") from error
        return data

    def seek(self, position: int) -> None:
        self._file.seek(position)


def members(file: Readable, *, any_name: bool, where: str) -> Iterator[Member | None]:
    """Each regular member; None for one that is no `.txt`, unless `any_name`. Others (directories, links) are no rows.

    Raises SourceReadError when the archive is damaged, cut short, or followed by something else.
    """
    stream = _Ending(file)
    name = ""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER_BYTES) as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                name = member.name
                archive.members.clear()  # it would keep them all
                if member.isreg():
                    taken = any_name or _is_text(name)
                    yield Member(name, member.size, archive.extractfile(member), where=where) if taken else None
            _require_end(archive.fileobj, stream)
    except (tarfile.TarError, ValueError) as error:
        after = f", after {name}" if name else ""
        raise SourceReadError(f"{where}{after}: not a whole tar archive: {error}") from error


def _is_text(name: str) -> bool:
    base = name.rpartition("/")[2]
    return base.endswith(_TEXT) and not base.startswith(".")


def _require_end(rest: Any, stream: _Ending) -> None:
    """Raise ReadError unless what follows the last member is the archive's end, and nothing more.

    tarfile takes a damaged header, and the end of the file, for the end of the archive.
    """
    while block := rest.read(_BUFFER_BYTES):
        if block.strip(b"\0"):
            raise tarfile.ReadError("a damaged header, or another archive behind the first")
    if len(stream.last) < _BLOCK_BYTES or stream.last.strip(b"\0"):
        raise tarfile.ReadError("its end is missing: cut short")
