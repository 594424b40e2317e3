"""One test host made of namespaces: network, processes, host name, mounts and home of its own, and a real sshd.

Its first process only keeps the namespaces alive and is the host's power supply: killed, it takes every process of the
host with it. Processes are found by reading /proc here, independently of the code under test.
"""

import errno
import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.fleet import Seen, seen
from tests.support.netns_link import Cable
from tests.support.netns_roles import carries, inner_pid, inside, is_sshd, role
from tests.support.netns_tools import (
    NAMESPACES,
    ToolError,
    UnavailableError,
    call,
    identity,
    living,
    mounts_under,
    namespace,
    parent_of,
    pids,
    tool,
    unmount,
    wait_for,
)

_SET_UP = """
set -e
name=$1 directory=$2 keeper=$3
echo "$name" >/proc/sys/kernel/hostname
mount --bind "$directory/passwd" /etc/passwd
for file in hosts resolv.conf; do
  [ ! -e "/etc/$file" ] || mount --bind "$directory/$file" "/etc/$file"
done
mount --rbind "$directory/homes/$name" "$directory/home"
mount -t tmpfs none "$directory/homes"
echo ready
exec >/dev/null 2>&1
# Children that nobody waits for are those of this process: ignored, the kernel buries them.
exec env --ignore-signal=CHLD $keeper
"""
_RATE_BUFFERS = ("burst", "32kb", "latency", "200ms")


@dataclass(frozen=True)
class Host:
    """See the module. What it has of files lies in the cluster's directory: `<name>/`, `homes/<name>/`."""

    name: str
    address: str
    gateway: str
    """The launcher's address."""
    bridge: str
    directory: Path
    """Of the cluster."""

    @property
    def home(self) -> Path:
        """Its home as the launcher's side sees it; it outlives the host's processes, as a disk does."""
        return self.directory / "homes" / self.name

    @property
    def place(self) -> Path:
        """Its server's keys, config and log."""
        return self.directory / self.name

    @property
    def log(self) -> str:
        """What its sshd has logged."""
        return (self.place / "sshd.log").read_text(errors="replace")

    @property
    def init(self) -> int | None:
        """Its first process, as numbered here; None while the host is down."""
        with suppress(FileNotFoundError):
            return living((self.place / "init").read_text())
        return None

    # Power

    def start(self, *, outlive: bool) -> "subprocess.Popen[bytes]":
        """Bring the host up, without sshd. Unless it is to `outlive` this process, it dies with it."""
        keeper = "sleep infinity" if outlive else "cat"
        with (self.place / "start.log").open("wb") as log:
            process = subprocess.Popen(
                [tool("unshare"), *NAMESPACES, "sh", "-c", _SET_UP, "sh", self.name, str(self.directory), keeper],
                # cat ends when the other end of this pipe is closed, however that comes about.
                stdin=subprocess.DEVNULL if outlive else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )
        try:
            self._take_up(process)
        except BaseException:
            process.kill()  # and, as unshare was told, its child
            process.communicate()
            raise
        return process

    def kill(self) -> None:
        """A power cut: every process of the host dies at once. Its home and disks stay."""
        init = self.init
        if init is not None:
            own = namespace(init, "pid")
            os.kill(init, signal.SIGKILL)
            wait_for(lambda: self.init is None or None, f"{self.name} dies")
            wait_for(lambda: None if inside(own) else True, f"the processes of {self.name} die")
        self.cable.remove()

    # Network

    @property
    def cable(self) -> Cable:
        return Cable(self.name, self.bridge, self.address, self.gateway)

    def link(self, *, up: bool) -> None:
        """Plug the cable in or pull it. Nothing tells the two ends but silence."""
        self.cable.set(up=up)

    def rate(self, rate: str | None) -> None:
        """Limit both directions to a rate in tc's words, such as 8mbit; None lifts the limit. Replaces a delay."""
        self.cable.queue(self.init, None if rate is None else ("tbf", "rate", rate, *_RATE_BUFFERS))

    def delay(self, milliseconds: float | None) -> None:
        """Let every packet take longer in both directions; None ends it. Replaces a rate limit.

        Raises UnavailableError where the kernel has no netem.
        """
        try:
            self.cable.queue(self.init, None if milliseconds is None else ("netem", "delay", f"{milliseconds}ms"))
        except ToolError as error:
            if "kind is unknown" not in str(error):
                raise
            raise UnavailableError("this kernel has no netem (module sch_netem): packets cannot be delayed") from error

    # Processes

    def processes(self, cookie: str | None = None) -> list[Seen]:
        """Its living processes, but for its first and for the sshd that listens; with a cookie, NAME=VALUE, only those
        that have it in their environment. Numbers are those of this machine."""
        spared = {self.init, self.sshd}
        found = (seen(pid) for pid in self._pids() if pid not in spared)
        return [one for one in found if one is not None and (cookie is None or carries(one.pid, cookie))]

    def of_role(self, name: str) -> list[Seen]:
        """Processes by role: `supervisor`, `ranks`, `rank N`, `sshd sessions`, `all`."""
        return list(filter(role(name), self.processes()))

    def strike(self, name: str, number: signal.Signals = signal.SIGKILL) -> list[Seen]:
        """Signal every process of a role. Returns those that were there."""
        found = self.of_role(name)
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)
        return found

    def clear(self) -> None:
        """Kill until nothing but the first process and the listening sshd is left."""
        wait_for(lambda: None if self.strike("all") else True, f"the processes of {self.name} die")

    def argv(self, *argv: str) -> list[str]:
        """A command line that runs `argv` on the host as a login would, whatever its cable and its sshd do."""
        if self.init is None:
            raise ToolError(f"{self.name} is down")
        home = str(self.directory / "home")
        environment = (f"HOME={home}", "USER=root", "LOGNAME=root", f"PATH={os.defpath}:/usr/sbin:/sbin", "TERM=dumb")
        return [*self._enter("--all"), f"--wd={home}", "env", "-i", *environment, *argv]

    def run(self, *argv: str, timeout: float = 30.0) -> "subprocess.CompletedProcess[str]":
        """Run a command on the host to its end; see `argv`."""
        return subprocess.run(
            self.argv(*argv), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )

    # sshd

    @property
    def sshd(self) -> int | None:
        """The server that listens, as numbered here."""
        with suppress(FileNotFoundError):
            return living((self.place / "sshd").read_text())
        return None

    def start_sshd(self) -> None:
        """Start the server and wait until it greets."""
        if self.sshd is not None:
            return
        call(*self._enter("--all"), tool("sshd"), "-f", self.place / "sshd_config", "-E", self.place / "sshd.log")
        wait_for(self._greeted, f"sshd of {self.name} greets; it says {self.log}")
        listening = [pid for pid in self._pids() if parent_of(pid) == self.init and is_sshd(pid)]
        inner = (self.place / "sshd.pid").read_text().strip()
        (sshd,) = (pid for pid in listening if inner_pid(pid) == inner)
        (self.place / "sshd").write_text(identity(sshd) or "")

    def stop_sshd(self, *, sessions: bool = True) -> None:
        """Kill the server, and its sessions: what runs in them loses its ends, and lives on if it does not mind."""
        sshd = self.sshd
        if sshd is not None:
            os.kill(sshd, signal.SIGKILL)
            wait_for(lambda: self.sshd is None or None, f"sshd of {self.name} dies")
        if sessions:
            wait_for(lambda: None if self.strike("sshd sessions") else True, f"sessions on {self.name} die")

    # Disks

    def mount_disk(self, path: str, size: str) -> Path:
        """Put a small disk (tmpfs of a size such as 8m) at a path below the home. Returns it as seen from here.

        It survives a power cut, and is gone with the next reset.
        """
        point = self.home / path
        point.mkdir(parents=True, exist_ok=True)
        call("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", point)
        return point

    def fill_disk(self, path: str, *, leave: int = 0) -> None:
        """Use up the disk at a path below the home, but for `leave` bytes."""
        left = os.statvfs(self.home / path)
        wanted = left.f_bavail * left.f_frsize - leave
        with self._ballast(path).open("ab") as file:
            try:
                os.posix_fallocate(file.fileno(), file.tell(), max(wanted, 1))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free_disk(self, path: str) -> None:
        """Give back what `fill_disk` took."""
        self._ballast(path).unlink(missing_ok=True)

    def empty_home(self) -> None:
        """Take the disks away and remove everything below the home."""
        unmount(mounts_under(self.home))
        for entry in self.home.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def _take_up(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait until its namespaces are set up, note its first process, and connect it."""
        assert process.stdout is not None
        with process.stdout:
            if process.stdout.readline() != b"ready\n":
                raise ToolError(f"{self.name} did not start: {(self.place / 'start.log').read_text()}")
        (init,) = (pid for pid in pids() if parent_of(pid) == process.pid)
        (self.place / "init").write_text(identity(init) or "")
        self.cable.connect(init)

    def _pids(self) -> list[int]:
        init = self.init
        return [] if init is None else inside(namespace(init, "pid"))

    def _enter(self, *namespaces: str) -> tuple[str, ...]:
        return (tool("nsenter"), "--target", str(self.init), *namespaces)

    def _greeted(self) -> bool | None:
        with suppress(OSError), socket.create_connection((self.address, 22), timeout=1.0) as connection:
            return connection.recv(4) == b"SSH-" or None
        return None

    def _ballast(self, path: str) -> Path:
        return self.home / path / ".ballast"
