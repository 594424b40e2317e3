"""Which hosts are reached by known keys on both sides: theirs confirmed, ours accepted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from provision.errors import ProvisionError, SignInError, UnknownHostKeyError
from provision.hosts import Host
from provision.install.keys import PublicKey, accepts, install_key, key_for
from provision.reach.fleet import on_all
from provision.reach.ssh.connect import sign_in_with_keys
from provision.reach.ssh.learn import Confirm, learn_host_key
from provision.reach.ssh.password import AskPassword, sign_in_with_password

Reached = Mapping[Host, ProvisionError | None]
"""None for a host that lets us in, else why it does not; in the order of the hosts."""


@dataclass(frozen=True, kw_only=True)
class Asks:
    """What only the user can decide or know, and how the user hears of it."""

    confirm: Confirm
    password: AskPassword
    say: Callable[[str], None]


def reach(hosts: Sequence[Host], config: Path, asks: Asks) -> Reached:
    """Sign in to every host at once; then, one by one, have unknown host keys confirmed, and try those hosts again."""
    outcomes = on_all(hosts, config, lambda channel: None)
    learned = []
    for host, outcome in outcomes.items():
        if isinstance(outcome, UnknownHostKeyError):
            try:
                for key in learn_host_key(host, config, asks.confirm):
                    asks.say(f"{host.name}: added {key} to known_hosts")
            except ProvisionError as error:
                outcomes[host] = error
            else:
                learned.append(host)
    return {**outcomes, **on_all(learned, config, lambda channel: None)}


def install_keys(reached: Reached, config: Path, key: PublicKey | None, asks: Asks) -> Reached:
    """Have every host accept the key, or, without one, any key that ssh would offer it; one host after the other."""
    after: dict[Host, ProvisionError | None] = {}
    for host, outcome in reached.items():
        after[host] = outcome
        if outcome is None or isinstance(outcome, SignInError):
            try:
                asks.say(_install_key(host, config, key, asks.password, signed_in=outcome is None))
                after[host] = None
            except ProvisionError as error:
                after[host] = error
    return after


def _install_key(host: Host, config: Path, key: PublicKey | None, ask: AskPassword, *, signed_in: bool) -> str:
    if signed_in and (key is None or accepts(host, config, key)):
        return f"{host.name}: accepts the key already"
    key = key or key_for(host, config)
    if signed_in:
        install_key(host, config, key, sign_in_with_keys)
    else:
        install_key(host, config, key, lambda transport, to: sign_in_with_password(transport, to, ask))
    return f"{host.name}: accepts {key.file} from now on"
