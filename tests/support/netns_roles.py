"""Processes of a test host: which they are, and by which role they are struck."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.support.fleet import Seen
from tests.support.netns_tools import namespace, pids


def inside(pid_namespace: str | None) -> list[int]:
    """Processes of a PID namespace, as numbered here."""
    return [pid for pid in pids() if pid_namespace is not None and namespace(pid, "pid") == pid_namespace]


def carries(pid: int, cookie: str) -> bool:
    with suppress(OSError):
        return os.fsencode(cookie) in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def is_sshd(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/exe").readlink().name.startswith("sshd")
    return False


def inner_pid(pid: int) -> str:
    """Its number inside its own namespace."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(line.split()[-1] for line in lines if line.startswith("NSpid:"))
    return ""


def runs(process: Seen, *words: str) -> bool:
    """Whether these stand in its command line, one after the other."""
    return any(process.argv[start : start + len(words)] == words for start in range(len(process.argv)))


_ROLES: dict[str, Callable[[Seen], bool]] = {
    "supervisor": lambda process: runs(process, "-m", "shard", "run"),
    "ranks": lambda process: runs(process, "-m", "shard", "rank"),
    "sshd sessions": lambda process: is_sshd(process.pid),
    "all": lambda process: True,
}


def role(name: str) -> Callable[[Seen], bool]:
    """What tells a process of a role: `supervisor`, `ranks`, `rank N`, `sshd sessions`, `all`."""
    if name in _ROLES:
        return _ROLES[name]
    word, _, number = name.partition(" ")
    if word != "rank" or not number.isdecimal():
        raise ValueError(f"no role {name!r}; there are {', '.join(_ROLES)}, rank N")
    return lambda process: _ROLES["ranks"](process) and runs(process, "--rank", number)
