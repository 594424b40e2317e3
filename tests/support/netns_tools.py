"""What the test hosts of network namespaces are made with: system tools, process identities, mount points."""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds until what is waited for is taken as never coming."""
SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/lib/sftp-server",
)
_PACKAGES = {
    "ip": "iproute2",
    "tc": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "pdsh": "pdsh",
}
_PATH = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"

NAMESPACES = ("--net", "--pid", "--uts", "--mount", "--fork", "--mount-proc", "--propagation", "slave", "--kill-child")
"""What unshare gives a host of its own. Mounts of the launcher's side arrive in it; its own stay inside."""


class UnavailableError(Exception):
    """This machine cannot do it: a tool, a permission or a kernel module is missing. The message is the reason."""


class ToolError(Exception):
    """A system tool refused."""


def tool(name: str) -> str:
    """The path of a system tool, also of those that only root has on PATH. Raises UnavailableError."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise UnavailableError(f"needs {name}: apt install {_PACKAGES.get(name, name)}")
    return found


def call(name: str, *args: object, text: str | None = None) -> str:
    """Run a system tool to its end. Returns its output; raises ToolError when it refuses."""
    argv = [tool(name), *map(str, args)]
    done = subprocess.run(argv, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise ToolError(f"{' '.join(argv)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def require() -> None:
    """Raise UnavailableError, with the reason, where hosts cannot be made of namespaces."""
    if platform.system() != "Linux":
        raise UnavailableError(f"needs the network namespaces of Linux; this is {platform.system()}")
    if os.geteuid() != 0:
        raise UnavailableError("needs root, to make network namespaces")
    for name in _PACKAGES:
        tool(name)
    sftp_server()
    try:
        call("unshare", *NAMESPACES, "true")
        bridge = f"sfprobe{os.getpid() % 10**7}"
        call("ip", "link", "add", bridge, "type", "bridge")
        call("ip", "link", "del", bridge)
    except ToolError as error:
        raise UnavailableError(f"namespaces and bridges are not permitted here: {error}") from error


def sftp_server() -> str:
    """The program behind the subsystem sftp. Raises UnavailableError."""
    found = next((path for path in SFTP_SERVERS if os.access(path, os.X_OK)), None)
    if found is None:
        raise UnavailableError("needs OpenSSH's sftp-server: apt install openssh-sftp-server")
    return found


def wait_for(probe: Callable[[], T | None], what: str, seconds: float = PATIENCE) -> T:
    """Ask until there is an answer; raises TimeoutError, saying for what, when none comes."""
    deadline = monotonic() + seconds
    while (found := probe()) is None:
        if monotonic() > deadline:
            raise TimeoutError(f"not after {seconds:g} s: {what}")
        sleep(0.01)
    return found


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def parent_of(pid: int) -> int | None:
    """None when it is gone or only its corpse is left."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[1])


def identity(pid: int) -> str | None:
    """Number and start time of a living process: no later one with this number is taken for it."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in "ZX" else f"{pid} {fields[19]}"


def living(identity_: str) -> int | None:
    """The number of the process with this identity while it lives."""
    words = identity_.split()
    return int(words[0]) if words and identity(int(words[0])) == identity_ else None


def namespace(pid: int, kind: str) -> str | None:
    """The namespace that a process is in; None when the process is gone."""
    try:
        return str(Path(f"/proc/{pid}/ns/{kind}").readlink())
    except OSError:
        return None


def mounts_under(directory: Path) -> list[Path]:
    """Mount points at and below a directory, the innermost first."""
    # man 5 proc_pid_mountinfo: the fifth field; a space in it is written \040.
    points = [Path(line.split()[4].replace("\\040", " ")) for line in _lines(Path("/proc/self/mountinfo"))]
    return [point for point in reversed(points) if point == directory or directory in point.parents]


def unmount(points: Sequence[Path]) -> None:
    for point in points:
        call("umount", "--lazy", point)


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat from the third on: the name before them may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
