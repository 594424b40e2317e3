"""The hosts of a run as other tools want them written: Ansible, DeepSpeed, pdsh."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from provision.errors import InputError
from provision.hosts import Host

Form = Literal["ansible", "deepspeed", "pdsh"]


def render_hosts(hosts: Sequence[Host], form: Form, *, ssh_config: Path | None = None) -> str:
    """The hosts in another tool's form, in their order, ending in a newline.

    ansible: an inventory in JSON, which is also YAML, so that any file name will do; each host carries
    `shardfleet_ranks` and, where set, `shardfleet_output_dir` and `shardfleet_holdout_dir`; `ssh_config` is the client
    config that Ansible is to use, as pdsh and our own connections do.
    deepspeed: a hostfile, `host slots=N`; `parse_hosts` reads it back. Ports and directories have no place in it.
    pdsh: the list for -w. Ports belong into the ssh config that PDSH_SSH_ARGS_APPEND names.

    Raises InputError for any other form.
    """
    match form:
        case "ansible":
            text = _ansible(hosts, ssh_config)
        case "deepspeed":
            text = _deepspeed(hosts)
        case "pdsh":
            text = _pdsh(hosts)
        case _:
            raise InputError(f"{form!r}: no such form of a host list; there are {', '.join(get_args(Form))}")
    return f"{text}\n"


def _ansible(hosts: Sequence[Host], ssh_config: Path | None) -> str:
    group: dict[str, object] = {"hosts": {host.name: _ansible_variables(host) for host in hosts}}
    if ssh_config is not None:
        group["vars"] = {"ansible_ssh_common_args": shlex.join(["-F", str(ssh_config.absolute())])}
    return json.dumps({"all": group}, indent=2)


def _ansible_variables(host: Host) -> dict[str, str | int]:
    variables: dict[str, str | int | None] = {
        "ansible_connection": "local" if host.is_local else None,
        "ansible_user": host.user,
        "ansible_port": host.port,
        "shardfleet_ranks": host.ranks,
        "shardfleet_output_dir": host.output_dir,
        "shardfleet_holdout_dir": host.holdout_dir,
    }
    return {key: value for key, value in variables.items() if value is not None}


def _deepspeed(hosts: Sequence[Host]) -> str:
    return "\n".join(f"{host.target} slots={host.ranks}" for host in hosts)


def _pdsh(hosts: Sequence[Host]) -> str:
    return ",".join(host.target for host in hosts)
