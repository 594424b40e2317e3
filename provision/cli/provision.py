"""provision: shardfleet onto the hosts, and the keys that lead to them."""

import getpass
import hashlib
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import click

from provision import __version__
from provision.cli.hostsfile import hosts_option, slots_option
from provision.errors import InputError, RemoteError, SignInError
from provision.hosts import Host, read_hosts
from provision.install.keys import PublicKey, read_public_key
from provision.install.reach import Asks, Reached, install_keys, reach
from provision.install.rollout import DEFAULT_HOME, Rollout, roll_out
from provision.install.wheelhouse import cache_directory
from provision.reach.ssh.config import write_ssh_config
from provision.reach.ssh.known_hosts import describe
from provision.reach.ssh.learn import Confirm, fingerprint, read_fingerprints
from provision.reach.ssh.resolve import Resolved


@click.command(short_help="Install shardfleet on every host, offline.")
@hosts_option
@slots_option
@click.option("--check", is_flag=True, help="Show what would change on the hosts; change nothing.")
@click.option("--verify", is_flag=True, help="Only run the smoke test on what is installed.")
@click.option("--uninstall", is_flag=True, help="Remove what was installed; shards and jobs stay.")
@click.option(
    "--install-key",
    is_flag=False,
    flag_value="",
    metavar="[FILE.pub]",
    help="Only have the hosts accept your public key, asking for passwords. Without FILE, the key ssh would offer.",
)
@click.option(
    "--host-key-fingerprints",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Accept unknown host keys whose SHA256 fingerprint stands there, and ask about none.",
)
@click.option(
    "--ssh-config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="OpenSSH client config for Ansible and our own connections.  [default: ~/.ssh/config]",
)
@click.option(
    "--wheelhouse",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Wheels of shardfleet and all it needs.  [default: made of the shardfleet that runs here]",
)
@click.option(
    "--python",
    metavar="NAME",
    help="Interpreter on the hosts that makes the venv.  [default: the version the wheels are made for]",
)
@click.option("--home", default=DEFAULT_HOME, show_default=True, metavar="DIR", help="Where to install, on each host.")
@click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for the sudo password, where a package is missing.")
def provision(
    hosts_file: Path,
    default_slots: int | None,
    check: bool,
    verify: bool,
    uninstall: bool,
    install_key: str | None,
    host_key_fingerprints: Path | None,
    ssh_config: Path | None,
    wheelhouse: Path | None,
    python: str | None,
    home: str,
    ask_become_pass: bool,
) -> None:
    """Install shardfleet on every host, offline, from the wheels of what runs here; a second run changes nothing.

    Exit code: 0 done on every host; 1 not on the hosts named; 2 refused; 130 stopped by Ctrl+C.
    """
    deeds = [name for name, given in (("--verify", verify), ("--uninstall", uninstall)) if given]
    deeds += ["--install-key"] if install_key is not None else []
    if len(deeds) > 1 or (check and deeds and not uninstall):
        raise InputError(f"{' '.join(['--check'] * check + deeds)}: these do not go together; give one of them")
    rollout = Rollout(
        playbook="verify.yml" if verify else "uninstall.yml" if uninstall else "site.yml",
        home=home,
        wheelhouse=wheelhouse,
        python=python,
        check=check,
        ask_become_pass=ask_become_pass,
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup has it ignored, and it stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    key = read_public_key(Path(install_key).expanduser()) if install_key else None
    hosts = _remote(read_hosts(hosts_file, default_slots=default_slots))
    if not hosts:
        return
    config = _config_of(hosts_file, hosts, ssh_config)
    # Check mode changes nothing here, either: known_hosts is as it was.
    asks = Asks(confirm=_confirm_by(host_key_fingerprints, check=check), password=_ask_password, say=_say)
    reached = reach(hosts, config, asks)
    if install_key is not None:
        _install_keys(reached, config, key, asks)
        return
    failed = {host.name: str(error) for host, error in reached.items() if error is not None}
    ready = [host for host, error in reached.items() if error is None]
    for line in failed.values():
        _say(line)
    if any(isinstance(error, SignInError) for error in reached.values()):
        _say("'shardfleet provision --install-key' has hosts accept your key, asking for a password")
    if ready:
        outcome = roll_out(rollout, ready, config, _say)
        failed |= dict.fromkeys(outcome.failed, "its failed task stands above")
    _require_none(failed, of=len(hosts))
    _say(_done(rollout, hosts, outcome.changed))


def _install_keys(reached: Reached, config: Path, key: PublicKey | None, asks: Asks) -> None:
    after = install_keys(reached, config, key, asks)
    failed = {host.name: str(error) for host, error in after.items() if error is not None}
    for line in failed.values():
        _say(line)
    _require_none(failed, of=len(after))


def _require_none(failed: dict[str, str], *, of: int) -> None:
    if failed:
        raise RemoteError(f"failed on {len(failed)} of {of} hosts: {', '.join(failed)}")


def _done(rollout: Rollout, hosts: Sequence[Host], changed: Sequence[str]) -> str:
    count = f"{len(hosts)} {'host' if len(hosts) == 1 else 'hosts'}"
    if rollout.playbook == "uninstall.yml":
        said = f"{count}: nothing of it would be left" if rollout.check else f"{count}: removed"
    elif rollout.check:
        said = f"{count}: checked"
    else:
        said = f"{count}: shardfleet {__version__} at {rollout.home}/venv"
        if rollout.home != DEFAULT_HOME:
            said += f"; launch with --remote-python '{rollout.home}/venv/bin/python'"
    return f"{said}; changed: {', '.join(changed) or 'nothing'}"


def _remote(hosts: Sequence[Host]) -> list[Host]:
    for host in hosts:
        if host.is_local:
            _say(f"{host.name}: is this machine, which uses the shardfleet that runs here; left out")
    return [host for host in hosts if not host.is_local]


def _config_of(hosts_file: Path, hosts: Sequence[Host], user_config: Path | None) -> Path:
    """The ssh config of these hosts. It stays, since messages name it in commands for the user."""
    named = f"{hosts_file.absolute()}\n{user_config and user_config.absolute()}"
    config = cache_directory() / "ssh" / f"{hashlib.sha256(named.encode()).hexdigest()[:12]}.config"
    write_ssh_config(config, hosts, user_config=user_config)
    return config


def _confirm_by(fingerprints: Path | None, *, check: bool) -> Confirm:
    if fingerprints is not None:
        accepted = read_fingerprints(fingerprints)
        return lambda host, keys: [key for key in keys if fingerprint(key) in accepted and not check]
    # Not from a pipe: "yes" to whatever comes would be no confirmation.
    if check or not sys.stdin.isatty():
        return lambda host, keys: []
    return _ask_about_keys


def _ask_about_keys(host: Resolved, keys: Sequence[bytes]) -> Sequence[bytes]:
    shown = "".join(f"\n  {describe(key)}" for key in keys)
    click.echo(
        f"{host.name}: no key is known for the server at {host.address}. It shows{shown}\n"
        f"Compare with what 'cat /etc/ssh/ssh_host_*_key.pub | ssh-keygen -lf -' prints on {host.name} itself.",
        err=True,
    )
    while True:
        answer = click.prompt("Are they the same? (yes, no, or a fingerprint to accept that key alone)", err=True)
        if answer == "no":
            return ()
        if answer == "yes":
            return keys
        if chosen := [key for key in keys if answer == fingerprint(key)]:
            return chosen
        click.echo("Type yes, no, or one of the fingerprints above, from SHA256 on.", err=True)


def _ask_password(host: Resolved) -> str:
    with warnings.catch_warnings():
        # Rather no password than one that can be read on the screen or in a script.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(f"Password of {host.user} on {host.name}, to install your key: ")
        except (getpass.GetPassWarning, EOFError):
            raise InputError(
                f"{host.name}: a password can be typed at a terminal only; run this at one, or add your key "
                "to ~/.ssh/authorized_keys there"
            ) from None


def _say(text: str) -> None:
    click.echo(text, err=True)
