"""pdsh: the command it runs on every host, its arguments, and the grammar of its output (pure)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from provision.errors import InputError
from provision.hosts import Host
from provision.plan.plan import Plan
from provision.reach.quoting import remote_path_word
from shard.processes import HOST_VARIABLE, JOB_VARIABLE
from shard.records.progress import AnyEvent, decode

_HUNG_UP = re.compile(r"pdsh@\S+: ([A-Za-z0-9._-]+): \S+ (?:exited with exit code|killed by signal) \d+")
_LABELLED = re.compile(r"([A-Za-z0-9._-]+): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of output that is no event: of ssh, of pdsh, of a shell."""

    host: str | None
    text: str


def supervisor_command(plan: Plan, python: str, host: str) -> str:
    """The shell command that becomes the supervisor of `host`, a plain word; of a detached run, that starts it.

    The variables are the cookie by which the run's processes are found again. Raises InputError when env could not
    start the interpreter.
    """
    if "=" in python:
        raise InputError(f"{python!r}: env takes a path with '=' for a variable; give an interpreter of another path")
    verb = "start" if plan.policy.detached else "run"
    return (
        f"exec env {JOB_VARIABLE}={plan.run_id} {HOST_VARIABLE}={host} "
        f"{remote_path_word(python)} -m shard {verb} --job {plan.job_directory(host)}"
    )


def follower_command(plan: Plan, python: str, *, stay: bool) -> str:
    """The shell command by which every host tells what it has said and says. Without the cookie: it is no work."""
    return (
        f"exec {remote_path_word(python.replace('%', '%%'))} -m shard follow{' --stay' if stay else ''} "
        f"--job {plan.job_directory('%h')}"
    )


def pdsh_command(plan: Plan, python: str) -> str:
    """The same for all hosts: pdsh puts the host's name for `%h`, and takes `%%` for a percent sign."""
    return supervisor_command(plan, python.replace("%", "%%"), "%h")


def pdsh_argv(hosts: Sequence[Host], command: str, *, local: bool) -> list[str]:
    """pdsh over ssh, or on this machine.

    -b: one Ctrl+C ends it; -S: the highest exit code of a host; -f: all hosts at once, or the 33rd would never start.
    """
    argv = ["pdsh", "-b", "-S", "-f", str(len(hosts)), "-R", "exec" if local else "ssh"]
    argv += ["-w", ",".join(host.target for host in hosts)]
    return [*argv, "sh", "-c", command] if local else [*argv, command]


def parse_line(line: str) -> AnyEvent | LogLine:
    """An event, or a log line. pdsh labels lines with the host, where there is pdsh."""
    text = line.rstrip("\n")
    labelled = _LABELLED.fullmatch(text)
    event = decode(labelled.group(2) if labelled else text) or decode(text)
    if event is not None:
        return event
    return LogLine(labelled.group(1), labelled.group(2)) if labelled else LogLine(None, text)


def hung_up(line: str) -> str | None:
    """The host, when pdsh says in this line that what connected it has ended, and not well."""
    said = _HUNG_UP.fullmatch(line.strip())
    return said.group(1) if said else None
