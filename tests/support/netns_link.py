"""The cable between a test host and the bridge: a pair of virtual Ethernet devices, pulled and throttled."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.netns_tools import ToolError, call, tool, wait_for

_FORWARDING = "3"
"""BR_STATE_FORWARDING of linux/if_bridge.h."""


@dataclass(frozen=True)
class Cable:
    """Its near end is on the bridge; its far end is `eth0` of the host."""

    host: str
    bridge: str
    address: str
    gateway: str

    @property
    def name(self) -> str:
        """Of the near end."""
        return f"{self.bridge}-{self.host}"

    def connect(self, init: int) -> None:
        """Lay it between the bridge and the namespaces of a host's first process."""
        # An address of its own that stays when the host comes up again: neighbours remember it.
        mac = "02:00:" + ":".join(f"{int(byte):02x}" for byte in self.address.split("."))
        peer = ("peer", "name", "eth0", "address", mac, "netns", init)
        call("ip", "link", "add", self.name, "type", "veth", *peer)
        call("ip", "link", "set", self.name, "master", self.bridge, "up")
        steps = ("link set lo up", f"addr add {self.address}/24 dev eth0", "link set eth0 up")
        text = "\n".join((*steps, f"route add default via {self.gateway}\n"))
        call(*_in_network(init), tool("ip"), "-batch", "-", text=text)

    def remove(self) -> None:
        """Take it away. The kernel does so, too, some time after the host is gone; its name may be needed before."""
        with suppress(ToolError):
            call("ip", "link", "del", self.name)
        wait_for(lambda: None if Path("/sys/class/net", self.name).exists() else True, f"{self.name} goes")

    def set(self, *, up: bool) -> None:
        call("ip", "link", "set", self.name, "up" if up else "down")
        if up:
            # The kernel tells the bridge of a carrier some time later, at most once a second; till then nothing passes.
            port = Path("/sys/class/net", self.name, "brport", "state")
            wait_for(lambda: port.read_text().strip() == _FORWARDING or None, f"{self.name} forwards")

    def queue(self, init: int | None, discipline: tuple[str, ...] | None) -> None:
        """Give both ends a queueing discipline in tc's words, or none. Of a host that is down there is no far end."""
        for prefix, device in self._ends(init):
            present = "noqueue" not in _queue_of(prefix, device)
            if discipline is not None:
                call(*prefix, tool("tc"), "qdisc", "replace", "dev", device, "root", *discipline)
            elif present:
                call(*prefix, tool("tc"), "qdisc", "del", "dev", device, "root")

    def queues(self, init: int) -> list[str]:
        """What tc says of both ends."""
        return [_queue_of(prefix, device).strip() for prefix, device in self._ends(init)]

    def _ends(self, init: int | None) -> list[tuple[tuple[str, ...], str]]:
        """(how to get there, device) of both."""
        return [((), self.name), *([] if init is None else [(_in_network(init), "eth0")])]


def _queue_of(prefix: tuple[str, ...], device: str) -> str:
    return call(*prefix, tool("tc"), "qdisc", "show", "dev", device, "root")


def _in_network(init: int) -> tuple[str, ...]:
    return (tool("nsenter"), "--target", str(init), "--net")
