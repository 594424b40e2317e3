"""A network link with a rate, a delay, a queue and loss, between two network namespaces, without netem.

Each namespace has a TUN device; a process of its own carries packets from one to the other, as late as the link would
deliver them. What runs in the namespaces uses the kernel's own TCP, which sees a real round trip and real loss. Packets
are 9,000 bytes, so that Python keeps up with a gigabit: one that is lost is six of an Ethernet's at once, and a
connection recovers from it six times as fast as from one of 1,500 bytes.
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.netns_tools import ToolError, UnavailableError, call, tool

MTU = 9000
DEVICE = "wan0"
NEAR_ADDRESS, FAR_ADDRESS = "10.99.0.1", "10.99.0.2"
_SOCKET_BYTES = 32 << 20
"""Most that a connection may buffer at either end: several times what a gigabit has under way in 40 ms."""
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_LEAST_QUEUE_BYTES = 512 << 10
_SETTINGS = {
    "net.ipv4.tcp_rmem": f"4096 131072 {_SOCKET_BYTES}",
    "net.ipv4.tcp_wmem": f"4096 16384 {_SOCKET_BYTES}",
    # Or a run would begin with what the one before it has learnt of the way.
    "net.ipv4.tcp_no_metrics_save": "1",
}


@dataclass(frozen=True)
class Shape:
    """What the link is like, in either direction."""

    bits_per_second: float
    round_trip: float
    """Seconds that the way there and back takes, queues aside."""
    loss: float = 0.0
    """Share of the packets that vanish."""

    @property
    def queue_bytes(self) -> int:
        """What waits for its turn at most; more is dropped. As much as is under way, as routers are set up to have."""
        return max(_LEAST_QUEUE_BYTES, int(self.bits_per_second / 8 * self.round_trip))


@dataclass(frozen=True)
class Link:
    """Two namespaces with nothing but the link between them."""

    near: int
    """A process in the near namespace; it has NEAR_ADDRESS."""
    far: int

    def near_argv(self, *argv: str) -> list[str]:
        """A command line that runs `argv` at the near end."""
        return [*_in_network(self.near), *argv]

    def far_argv(self, *argv: str) -> list[str]:
        return [*_in_network(self.far), *argv]


@contextmanager
def delay_link(shape: Shape) -> Iterator[Link]:
    """A link for the length of a block. Raises UnavailableError where this machine cannot."""
    require()
    keepers = [_namespace() for _ in range(2)]
    try:
        near, far = (keeper.pid for keeper in keepers)
        arguments = (str(value) for value in (near, far, shape.bits_per_second, shape.round_trip, shape.loss))
        with subprocess.Popen(
            [sys.executable, "-m", "tests.support.delaylink", *arguments],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as carrier:
            assert carrier.stdout is not None
            try:
                if carrier.stdout.readline() != b"ready\n":
                    raise ToolError(f"the link ended with {carrier.wait()}; its stderr says why")
                _set_up(near, NEAR_ADDRESS, FAR_ADDRESS)
                _set_up(far, FAR_ADDRESS, NEAR_ADDRESS)
                yield Link(near, far)
            finally:
                carrier.kill()
    finally:
        for keeper in keepers:
            keeper.kill()
            keeper.communicate()


def require() -> None:
    """Raise UnavailableError, with the reason, where no such link can be made."""
    if os.geteuid() != 0:
        raise UnavailableError("needs root, to make network namespaces")
    for name in ("ip", "unshare", "nsenter"):
        tool(name)
    if not Path("/dev/net/tun").exists():
        raise UnavailableError("needs /dev/net/tun: modprobe tun")


def _namespace() -> "subprocess.Popen[bytes]":
    """A process in a network namespace of its own; it dies with this one, whose end of its pipe closes then."""
    process = subprocess.Popen(
        [tool("unshare"), "--net", "sh", "-c", "echo ready; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        raise UnavailableError("network namespaces are not permitted here")
    return process


def _set_up(pid: int, address: str, other: str) -> None:
    # Two packets of 9,000 bytes are about the ten of 1,500 with which connections begin elsewhere.
    steps = (
        "link set lo up",
        f"link set {DEVICE} mtu {MTU} txqueuelen 10000 up",
        f"addr add {address} peer {other} dev {DEVICE}",
        f"route replace {other} dev {DEVICE} src {address} initcwnd 2 congctl cubic",
    )
    call(*_in_network(pid), tool("ip"), "-batch", "-", text="\n".join((*steps, "")))
    for name, value in _SETTINGS.items():
        call(*_in_network(pid), "sh", "-c", f"echo '{value}' >/proc/sys/{name.replace('.', '/')}")


def _in_network(pid: int) -> tuple[str, ...]:
    return (tool("nsenter"), f"--net=/proc/{pid}/ns/net")


# The process that carries


def _device_in(pid: int) -> int:
    """A new TUN device in the network namespace of a process. Returns what to read its packets from."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{pid}/ns/net", "rb") as namespace, open("/proc/self/ns/net", "rb") as own:
        if libc.setns(namespace.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
        if libc.setns(own.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    return device


def carry(devices: tuple[int, int], shape: Shape) -> None:
    """Carry packets both ways until killed."""
    second_per_byte = 8 / shape.bits_per_second
    delay, loss, queue_seconds = shape.round_trip / 2, shape.loss, shape.queue_bytes * second_per_byte
    chance = random.Random(0).random
    free = dict.fromkeys(devices, 0.0)
    """When the link in the direction away from a device has sent what it has taken on."""
    other = {devices[0]: devices[1], devices[1]: devices[0]}
    under_way: list[tuple[float, int, int, bytes]] = []
    number = 0
    now, read, write, select_ = time.monotonic, os.read, os.write, select.select
    while True:
        wait = None if not under_way else max(0.0, under_way[0][0] - now())
        ready, _, _ = select_(devices, (), (), wait)
        for device in ready:
            for _ in range(64):
                try:
                    packet = read(device, 65536)
                except BlockingIOError:
                    break
                arrived = now()
                begins = max(arrived, free[device])
                if begins - arrived > queue_seconds:
                    continue
                free[device] = begins + len(packet) * second_per_byte
                if loss and chance() < loss:
                    continue
                number += 1
                heapq.heappush(under_way, (free[device] + delay, number, other[device], packet))
        due = now()
        while under_way and under_way[0][0] <= due:
            _, _, device, packet = heapq.heappop(under_way)
            try:
                write(device, packet)
            except OSError:  # the device is not up yet, or no more: packets to it are lost
                continue


def main() -> None:
    near, far, bits, round_trip, loss = sys.argv[1:]
    devices = (_device_in(int(near)), _device_in(int(far)))
    print("ready", flush=True)
    carry(devices, Shape(float(bits), float(round_trip), float(loss)))


if __name__ == "__main__":
    main()
