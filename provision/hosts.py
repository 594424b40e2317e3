"""hosts.txt: which hosts take part, and how many ranks each one runs.

    gpu3.lan 8                                  # host, rank count
    gpu4.lan slots=8                            # DeepSpeed and Open MPI hostfiles
    bob@gpu[5-8].lan slots=8                    # pdsh ranges, a user name in front
    gpu9.lan 8 port=2222 output_dir='/data/my shards'

Ranks follow the order of the file. Text in, records out: nothing here touches a network.
"""

import functools
import ipaddress
import re
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path

from provision.errors import HostsFileError
from provision.hostlist import expand
from shard.records.frozen import is_text
from shard.records.job import MAX_RANKS

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_INTEGER = re.compile(r"-?[0-9]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# A word: quoted pieces, backslash pairs and plain characters up to white space, as a shell reads them.
_WORD = re.compile(r"""(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^\s'"\\])+""")
_SETTINGS = ("slots", "port", "output_dir", "holdout_dir")


@dataclass(frozen=True, kw_only=True)
class Host:
    """One host of a run. Raises HostsFileError when a value cannot be used."""

    name: str
    """As OpenSSH is to look it up: a DNS name, an IPv4 address, or a `Host` of the user's ssh config."""
    ranks: int
    """Worker processes, from 1 to MAX_RANKS (inclusive)."""
    user: str | None = None
    """Login name; None leaves it to the ssh config."""
    port: int | None = None
    """TCP port of its sshd; None leaves it to the ssh config."""
    output_dir: str | None = None
    """Where this host writes its shards, if not where the others do: absolute or under `~/`."""
    holdout_dir: str | None = None
    """The same for the holdout."""
    line: int = 0
    """Line of hosts.txt, counted from 1; 0 when it came from elsewhere."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise HostsFileError(
                f"{self.name!r}: not a host name; write letters, digits, '.', '_' and '-', a letter or digit first"
                + (" (an IPv6 address needs a Host entry in your ssh config)" if ":" in self.name else "")
            )
        if self.user is not None and not _USER.fullmatch(self.user):
            raise HostsFileError(f"{self.user!r}: not a user name; write it as in 'bob@{self.name}'")
        if not 1 <= self.ranks <= MAX_RANKS:
            raise HostsFileError(
                f"'{self.name} {self.ranks}': a rank count is from 1 to {MAX_RANKS}; write '{self.name} 8'"
            )
        if self.port is not None and not 1 <= self.port <= 65535:
            raise HostsFileError(f"'port={self.port}': a port is from 1 to 65535; write 'port=22'")
        for key, value in (("output_dir", self.output_dir), ("holdout_dir", self.holdout_dir)):
            if value is not None:
                check_directory(key, value)

    @property
    def is_local(self) -> bool:
        """Whether this is the machine we run on, reached without SSH. A user or port asks for SSH.

        Every address of 127.0.0.0/8 is this machine: named by several of them, it is several hosts.
        """
        if self.user is not None or self.port is not None:
            return False
        name, own = self.name.lower(), socket.gethostname().lower()
        if name in {"localhost", own} or _is_loopback(name):
            return True
        # The full name may cost a DNS query: asked only about a name that could be it.
        return name.startswith(own.partition(".")[0] + ".") and name == _own_full_name()

    @property
    def target(self) -> str:
        """The host as pdsh's -w takes it: `user@name` or `name`."""
        return self.name if self.user is None else f"{self.user}@{self.name}"


def read_hosts(path: Path, *, default_slots: int | None = None) -> tuple[Host, ...]:
    """The hosts of a file. Raises HostsFileError as `parse_hosts` does, and when the file cannot be read."""
    try:
        # Not read_text(), for which a carriage return ends a line: what looks like a comment would name a host.
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise HostsFileError(f"{path}: no such file; write one host a line, such as 'localhost 2'") from None
    except IsADirectoryError:
        raise HostsFileError(f"{path}: a directory; name the file in it that has one host a line") from None
    except OSError as error:
        raise HostsFileError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except UnicodeDecodeError as error:
        raise HostsFileError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
    return parse_hosts(text, origin=str(path), default_slots=default_slots)


def parse_hosts(text: str, *, origin: str = "hosts.txt", default_slots: int | None = None) -> tuple[Host, ...]:
    """The hosts a text names, in its order, ranges expanded.

    `default_slots` is the rank count of lines that give none; without it they are refused.

    Raises HostsFileError naming every bad line at once, as `hosts.txt:3: 'gpu3.lan': what is wrong; what to write`.
    """
    if default_slots is not None and not 1 <= default_slots <= MAX_RANKS:
        raise HostsFileError(f"--default-slots {default_slots}: a rank count is from 1 to {MAX_RANKS}")
    hosts: list[Host] = []
    bad: list[str] = []
    first_line: dict[str, int] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        try:
            found = _parse_line(line, number, default_slots)
        except HostsFileError as error:
            bad.append(f"{origin}:{number}: {error}")
            continue
        repeated = []
        for host in found:
            # DNS does not tell GPU3 from gpu3: they would be one machine running twice its ranks.
            if host.name.lower() in first_line:
                repeated.append(host.name)
            first_line.setdefault(host.name.lower(), number)
        if repeated:
            more = f" (and {len(repeated) - 1} more of this line)" if len(repeated) > 1 else ""
            earlier = first_line[repeated[0].lower()]
            where = f"named before, on line {earlier}" if earlier != number else "named twice on this line"
            bad.append(f"{origin}:{number}: {repeated[0]!r}: {where}{more}; give each host one line")
        hosts.extend(found)
    if bad:
        raise HostsFileError("\n".join(bad))
    if not hosts:
        raise HostsFileError(f"{origin}: names no host; write one host a line, such as 'localhost 2'")
    return tuple(hosts)


def _parse_line(line: str, number: int, default_slots: int | None) -> list[Host]:
    words = _words(line)
    if not words:
        return []
    target, *rest = words
    settings: dict[str, str] = {}
    for word in rest:
        key, equals, value = word.partition("=")
        if not equals:
            if not _INTEGER.fullmatch(word):
                raise HostsFileError(f"{word!r}: neither a rank count nor key=value; write '{target} 8'")
            key, value = "slots", word
        if key not in _SETTINGS:
            raise HostsFileError(f"{word!r}: no setting {key!r}; there are {', '.join(_SETTINGS)}")
        if key in settings:
            what = "two rank counts" if key == "slots" else f"{key} given twice"
            raise HostsFileError(f"{word!r}: {what}; keep one")
        settings[key] = value

    user, at, pattern = target.rpartition("@")
    if re.fullmatch(r"[^:]*:[0-9]+", pattern):
        name, _, count = pattern.partition(":")
        raise HostsFileError(
            f"{target!r}: ':{count}' could be a port or a rank count; "
            f"write '{name} 8 port={count}' or '{name} slots={count}'"
        )
    try:
        names = expand(pattern)
    except ValueError as error:
        raise HostsFileError(f"{target!r}: {error}") from None
    ranks = _integer("slots", settings["slots"]) if "slots" in settings else default_slots
    if ranks is None:
        Host(name=names[0], ranks=1, user=user if at else None)  # a bad name matters more than a missing count
        raise HostsFileError(f"{target!r}: no rank count; write '{target} 8' or pass --default-slots")
    return [
        Host(
            name=name,
            ranks=ranks,
            user=user if at else None,
            port=_integer("port", settings["port"]) if "port" in settings else None,
            output_dir=settings.get("output_dir"),
            holdout_dir=settings.get("holdout_dir"),
            line=number,
        )
        for name in names
    ]


def _words(line: str) -> list[str]:
    """The words before a comment, quotes removed. A '#' inside a word or quotes is a character like any other."""
    words: list[str] = []
    position = 0
    while True:
        while position < len(line) and line[position].isspace():
            position += 1
        if position == len(line) or line[position] == "#":
            return words
        match = _WORD.match(line, position)
        end = match.end() if match else position
        if match is None or (end < len(line) and not line[end].isspace()):
            raise HostsFileError(f"{line[position:].strip()!r}: a quote or backslash without its other half; close it")
        words.append("".join(shlex.split(match[0])))
        position = end


def _integer(key: str, text: str) -> int:
    # int() alone would take '1_0', ' 8' and digits of every script, and fail on thousands of digits.
    if not _INTEGER.fullmatch(text) or len(text) > 9:
        example = 8 if key == "slots" else 22
        raise HostsFileError(f"'{key}={text}': not a number that can be used; write '{key}={example}'")
    return int(text)


def check_directory(key: str, value: str) -> None:
    """Raise HostsFileError unless the path means the same place wherever a host's processes start."""
    if _CONTROL.search(value):
        raise HostsFileError(f"{key}={value!r}: holds a control character; choose another directory")
    if not is_text(value):
        raise HostsFileError(f"{key}={value!r}: holds bytes that are not UTF-8; choose another directory")
    if not value.startswith(("/", "~/")):
        raise HostsFileError(f"{key}={value!r}: not a whole path; write '/…' or '~/…'")


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.IPv4Address(name).is_loopback
    except ValueError:
        return False


@functools.cache
def _own_full_name() -> str:
    return socket.getfqdn().lower()
