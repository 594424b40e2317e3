"""Ansible, run as a child: the playbooks are ours, the output is the user's, the outcome is read from its log."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec

from provision.errors import ProvisionError
from provision.install.ownwheel import playbooks

Playbook = Literal["site.yml", "verify.yml", "uninstall.yml"]

_RECAP = re.compile(r"\| (\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)")
_INTERRUPTED = 99
_ITS_OWN_END_SECONDS = 2.0
"""How long after Ctrl+C, which a terminal sends to both of us, Ansible is not told again."""
_END_SECONDS = 10.0
_SHORT = "/tmp"  # noqa: S108  a socket's path has little more than a hundred bytes, and a home may take most of them


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a playbook, hosts in the order of its recap."""

    changed: tuple[str, ...]
    """Hosts on which anything changed, or would have."""
    failed: tuple[str, ...]
    """Hosts that could not be reached, or where a task failed."""


def play(
    playbook: Playbook,
    *,
    inventory: Path,
    variables: Mapping[str, object],
    scratch: Path,
    check: bool = False,
    ask_become_pass: bool = False,
) -> Outcome:
    """Run a playbook of the role on an inventory, its output shown as it comes.

    Raises KeyboardInterrupt when it was interrupted, here or there, and ProvisionError when it ended without a word on
    its hosts. `scratch` is a directory for what it needs meanwhile.
    """
    directory = playbooks()
    given = scratch / "variables.json"
    given.write_bytes(msgspec.json.encode(dict(variables)))
    log = scratch / "ansible.log"
    argv = [sys.executable, "-m", "ansible", "playbook", "--inventory", str(inventory), "--extra-vars", f"@{given}"]
    argv += ["--check"] if check else []
    argv += ["--ask-become-pass"] if ask_become_pass else []
    with TemporaryDirectory(prefix="shardfleet-", dir=_SHORT) as sockets:
        returncode = _run([*argv, str(directory / playbook)], _environment(directory, log, scratch, sockets))
    outcome = _outcome(log)
    if returncode != 0 and not outcome.failed:
        raise ProvisionError(
            f"ansible-playbook {playbook} ended with exit status {returncode}; its reason stands above"
        )
    return outcome


def _environment(directory: Path, log: Path, scratch: Path, sockets: str) -> dict[str, str]:
    # Settings for the user's own playbooks would change what ours do and print.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return {
        **kept,
        "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
        "ANSIBLE_LOG_PATH": str(log),
        # Connections are shared among the tasks of this run alone: the same address may soon be another host.
        "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
        "ANSIBLE_SSH_CONTROL_PATH": "%(directory)s/%%C",
        # Ansible refuses to start in a locale that is not UTF-8.
        "LC_ALL": "C.UTF-8",
        # What it packs for the hosts is gone with the rest, however this ends.
        "TMPDIR": str(scratch),
    }


def _run(argv: list[str], environment: dict[str, str]) -> int:
    """The exit status of a child that shares our terminal and does not outlive us."""
    process = subprocess.Popen(argv, env=environment)
    try:
        returncode = process.wait()
    except BaseException:
        _end(process)
        raise
    if returncode == _INTERRUPTED or returncode < 0:
        raise KeyboardInterrupt
    return returncode


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ITS_OWN_END_SECONDS)
            return
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
    finally:
        process.kill()
        process.wait()


def _outcome(log: Path) -> Outcome:
    lines = log.read_text(errors="replace") if log.exists() else ""
    hosts = [(name, int(changed), int(lost) + int(failed)) for name, changed, lost, failed in _RECAP.findall(lines)]
    return Outcome(
        changed=tuple(name for name, changed, _ in hosts if changed),
        failed=tuple(name for name, _, failed in hosts if failed),
    )
