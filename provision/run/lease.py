"""The launcher's sign of life to every host: a file there that is touched now and then."""

import random
import threading
import time
from contextlib import suppress
from pathlib import Path

from provision.errors import ProvisionError
from provision.hosts import Host
from provision.plan.plan import Plan
from provision.reach.channel import Channel
from provision.reach.fleet import open_channel

_LONGEST_PAUSE_SECONDS = 60.0


def renew_leases(plan: Plan, ssh_config: Path) -> None:
    """Renew the lease of every host reached over SSH, for as long as this process lives."""
    if plan.options.lease_seconds is None:
        return
    pause = min(_LONGEST_PAUSE_SECONDS, plan.options.lease_seconds / 4)
    # Each host in a thread of its own: one that does not answer must not keep the others waiting.
    for host in plan.present:
        if not host.host.is_local:
            renewing = (host.host, ssh_config, f"{plan.job_directory(host.name)}/lease", pause)
            threading.Thread(target=_renew, args=renewing).start()


def _renew(host: Host, ssh_config: Path, path: str, pause: float) -> None:
    # Not all at the same moment.
    time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads load, hides nothing
    while True:
        # A host that cannot be reached now is asked again next time; what it does then is its own lease's matter.
        with suppress(ProvisionError, OSError), open_channel(host, ssh_config) as channel:
            _renew_over(channel, path, pause)
        time.sleep(pause)


def _renew_over(channel: Channel, path: str, pause: float) -> None:
    """Renew over one connection for as long as it lasts: to open one costs ten times what it carries."""
    while True:
        channel.put(b"", path)
        channel.rest(pause)
