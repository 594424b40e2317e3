"""The same deed on every host at once, each host's outcome kept."""

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from provision.errors import ProvisionError, RemoteError
from provision.hosts import Host
from provision.reach.channel import Channel
from provision.reach.local import LocalChannel
from provision.reach.ssh.channel import SshChannel

T = TypeVar("T")


def _without_ctrl_c() -> None:
    """Ctrl+C is the main thread's to answer. What a thread starts has its mask: for the moment in which a child has no
    session of its own yet, Ctrl+C at the terminal would end it, and with it the attempt to stop that host."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def open_channel(host: Host, config: Path) -> Channel:
    """A channel to a host: files and processes of this machine, or SSH by the given client config.

    Raises RemoteError when the host cannot be reached or its key is not known.
    """
    return LocalChannel(host) if host.is_local else SshChannel(host, config)


def on_all(
    hosts: Sequence[Host], config: Path, action: Callable[[Channel], T], *, workers: int = 32
) -> dict[Host, T | ProvisionError]:
    """What `action` returned for each host, or how the host failed it; in the order of `hosts`.

    One host's failure does not touch another. An exception that is neither a ProvisionError nor an OSError is a
    mistake of ours: it is raised, and hosts not yet begun are left out.
    """

    def outcome(host: Host) -> T | ProvisionError:
        try:
            with open_channel(host, config) as channel:
                return action(channel)
        except ProvisionError as error:
            return error
        except OSError as error:
            return RemoteError(f"{host.name}: {error}")

    threads = max(1, min(workers, len(hosts)))
    executor = ThreadPoolExecutor(threads, thread_name_prefix="host", initializer=_without_ctrl_c)
    try:
        futures = {host: executor.submit(outcome, host) for host in hosts}
        return {host: future.result() for host, future in futures.items()}
    finally:
        # Does not wait: Ctrl+C must not hang on a host that answers nothing.
        executor.shutdown(wait=False, cancel_futures=True)
