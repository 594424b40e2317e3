"""Hosts → their inventory, their wheels, and one playbook run over them."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from provision import __version__
from provision.errors import InputError
from provision.hosts import Host
from provision.install.playbook import Outcome, Playbook, play
from provision.install.wheelhouse import build_wheelhouse, require_wheelhouse
from provision.inventory import render_hosts

DEFAULT_HOME = "~/.shardfleet"
_DEFAULT_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What is to be done on the hosts. Raises InputError for a value that Ansible would not take as it stands."""

    playbook: Playbook
    home: str = DEFAULT_HOME
    """On the hosts: absolute, or under `~/`."""
    wheelhouse: Path | None = None
    """None has one built of the running code."""
    python: str | None = None
    """The interpreter that makes the venv; None is the version that the wheels are for."""
    check: bool = False
    ask_become_pass: bool = False

    def __post_init__(self) -> None:
        if not self.home.startswith(("/", "~/")):
            raise InputError(f"--home {self.home!r}: not a whole path; write '/…' or '~/…'")
        for option, value in (("--home", self.home), ("--python", self.python), ("--wheelhouse", self.wheelhouse)):
            _require_plain(option, str(value))


def roll_out(rollout: Rollout, hosts: Sequence[Host], config: Path, say: Callable[[str], None]) -> Outcome:
    """Run the playbook on hosts that can be reached through an ssh config.

    Raises InputError when there are no wheels to be had, and what `play` raises.
    """
    with TemporaryDirectory(prefix="shardfleet-provision-") as directory:
        scratch = Path(directory)
        inventory = scratch / "inventory.json"
        # Where shards go is nothing to Ansible, which would look for templates in it.
        bare = [replace(host, output_dir=None, holdout_dir=None) for host in hosts]
        inventory.write_text(render_hosts(bare, "ansible", ssh_config=config), encoding="utf-8")
        return play(
            rollout.playbook,
            inventory=inventory,
            variables={"shardfleet_home": rollout.home, **_variables(rollout, scratch, say)},
            scratch=scratch,
            check=rollout.check,
            ask_become_pass=rollout.ask_become_pass,
        )


def _variables(rollout: Rollout, scratch: Path, say: Callable[[str], None]) -> dict[str, str]:
    ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if rollout.playbook != "site.yml":
        # Ansible itself wants an interpreter, too.
        return {"shardfleet_version": __version__, "shardfleet_python": rollout.python or ours}
    python = rollout.python
    if rollout.wheelhouse is not None:
        wheelhouse = rollout.wheelhouse.absolute()
        require_wheelhouse(wheelhouse)
    else:
        wheelhouse = scratch / "wheelhouse"
        wheelhouse.mkdir()
        build_wheelhouse(wheelhouse, say)
        # Compiled wheels are for this very version, which need not be the one that "python3" is over there.
        python = python or ours
    endpoint = os.environ.get("HF_ENDPOINT") or _DEFAULT_ENDPOINT
    _require_plain("HF_ENDPOINT", endpoint)
    return {
        "shardfleet_wheelhouse": str(wheelhouse),
        "shardfleet_python": python or "python3",
        "shardfleet_hub_endpoint": endpoint,
    }


def _require_plain(option: str, value: str) -> None:
    if re.search(r"\{[{%#]|[\x00-\x1f\x7f]", value):
        raise InputError(f"{option} {value!r}: '{{{{', '{{%', '{{#' and control characters mean something to Ansible")
