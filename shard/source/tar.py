"""Members of a tar archive, in its order; memory is that of the largest one."""

import tarfile
from collections.abc import Iterator
from typing import Any

from shard.errors import SourceReadError
from shard.source.lines import Readable

_BUFFER_BYTES = 32 << 10
"""tarfile copies what is left of it at every read."""
_BLOCK_BYTES = 512
_HEADER_BYTES = 16 << 20
_TEXT = ".txt"
_GNU_OTHERS = (b"D", b"V")
"""Of GNU tar: what a directory held, and the archive's label."""


class _Stream:
    """What tarfile reads; it holds whatever a header asks for, so that is limited."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self.last = b""
        """The last block that was read."""
        self.headers_left = _HEADER_BYTES
        """Bytes that may be read before the next member begins; set anew for each."""
        self.in_member = False

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if data:
            self.last = (self.last + data[-_BLOCK_BYTES:])[-_BLOCK_BYTES:]
        if not self.in_member:
            self.headers_left -= len(data)
            if self.headers_left < 0:
                raise tarfile.ReadError(f"a header of over {_HEADER_BYTES} bytes")
        return data


class Member:
    """A member of an archive, open to be read before the next one is asked for."""

    def __init__(self, name: str, file: Any, *, where: str) -> None:
        self.name = name
        self._file = file
        self._where = where

    def read(self, size: int = -1) -> bytes:
        """Raises SourceReadError when the archive ends within it."""
        try:
            data: bytes = self._file.read(size)
        except tarfile.TarError as error:
            raise SourceReadError(f"{self._where}: {self.name}: not a whole tar archive: {error}") from error
        return data

    def skip(self) -> None:
        """Read what nobody has read."""
        while self.read(_BUFFER_BYTES):
            pass

    def seek(self, position: int) -> None:
        self._file.seek(position)


def members(file: Readable, *, any_name: bool, where: str) -> Iterator[Member | None]:
    """Each regular member; None for one that is no `.txt`, unless `any_name`. Others (directories, links) are no rows.

    Raises SourceReadError when the archive is damaged, cut short, or followed by something else.
    """
    stream = _Stream(file)
    name = ""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_BUFFER_BYTES) as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                name = member.name
                archive.members.clear()  # it would keep them all
                if _is_file(member):
                    stream.in_member = True
                    opened = Member(name, archive.extractfile(member), where=where)
                    yield opened if any_name or _is_text(name) else None
                    opened.skip()
                    stream.in_member, stream.headers_left = False, _HEADER_BYTES
            stream.in_member = True
            _require_end(archive.fileobj, stream)
    except (tarfile.TarError, ValueError) as error:
        after = f", after {name}" if name else ""
        raise SourceReadError(f"{where}{after}: not a whole tar archive: {error}") from error


def _is_file(member: tarfile.TarInfo) -> bool:
    """A file, also one of a type that nobody knows, as POSIX has it."""
    return member.isreg() or member.type not in (*tarfile.SUPPORTED_TYPES, *_GNU_OTHERS)


def _is_text(name: str) -> bool:
    base = name.rpartition("/")[2]
    return base.endswith(_TEXT) and not base.startswith(".")


def _require_end(rest: Any, stream: _Stream) -> None:
    """Raise ReadError unless what follows the last member is the archive's end, and nothing more.

    tarfile takes a damaged header, and the end of the file, for the end of the archive.
    """
    while block := rest.read(_BUFFER_BYTES):
        if block.strip(b"\0"):
            raise tarfile.ReadError("a damaged header, or another archive behind the first")
    if len(stream.last) < _BLOCK_BYTES or stream.last.strip(b"\0"):
        raise tarfile.ReadError("its end is missing: cut short")
