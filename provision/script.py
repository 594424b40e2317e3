"""Plan → text of run_all_hosts.sh (pure). The script is the run: `launch` only writes and starts it."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from provision import __version__
from provision.hosts import Host
from provision.pdsh import pdsh_argv, supervisor_command
from provision.plan import HostPlan, Plan

_HEAD = """\
#!/usr/bin/env bash
#
# Written by shardfleet {version}.
#
#   dataset   {dataset} at {revision}
#   run       {run_id}
#   work      {units} units, {gigabytes:.1f} GB of source
#   hosts     {hosts}: {ranks} ranks
#   shards    {output_dir} and {holdout_dir} on every host
#
# Does the whole job by itself: sends every host its part, starts the workers there with pdsh, shows their progress,
# and at the end asks every host what is left. Run it again and it continues where it stopped.
#
#   ./run_all_hosts.sh [--plain | --json]
#
# Ctrl+C stops every host; a second one at once; a third leaves without waiting for the hosts' answers.
# Exit code: 0 every unit is committed; 1 something is missing; 2 refused; 130 stopped, and shown to be; 3 stopped, but
# not shown to be on the hosts named.

set -uo pipefail

run_dir={run_dir}
python={python}
display=("$@")

control() {{ "$python" -m provision.control "$@"; }}

# Wait for a child to its end, through any number of signals; its exit code is in $status.
attend() {{
  until wait "$1"; status=$?; ! kill -0 "$1" 2>/dev/null; do :; done
  wait "$1" 2>/dev/null
  local again=$?
  ((again == 127)) || status=$again
}}

# Paths from here on are relative: pdsh cannot pass one with a space to ssh.
cd "$run_dir" || exit 2

# One launcher a run. Whoever still stops an earlier one holds the lock, too.
exec {{lock}}>lock
if command -v flock >/dev/null && ! flock --wait 45 "$lock"; then
  echo "run {run_id} is already under way; stop it with 'shardfleet abort {run_id}'" >&2
  exit 2
fi

control push . || exit $?

# Whatever the hosts say goes to the watcher, which ends when the last of them has hung up.
exec {{events}}> >(exec "$python" -m provision.control watch . "${{display[@]}}")
watcher=$!

# A killed launcher must not leave a job behind: the kernel ends pdsh with this shell, ssh ends with pdsh, and the
# workers end when their standard input does.
tether=()
command -v setpriv >/dev/null && tether=(setpriv --pdeathsig KILL)
workers=()
"""

_LOCAL = """\

# Hosts that are this machine.
command={command}
if command -v pdsh >/dev/null; then
  "${{tether[@]}}" setsid \\
    {pdsh} \\
    >&"$events" 2>&1 &
  workers+=($!)
else
  echo "pdsh is not installed: starting the workers of this machine without it" >&2
  rm -f death_pipe
  mkfifo -m 600 death_pipe
  exec {{death}}<>death_pipe # this shell is its only writer
  for host in {names}; do
    setsid sh -c "${{command//%h/$host}}" <death_pipe >&"$events" 2>&1 {{death}}>&- &
    workers+=($!)
  done
fi
"""

_REMOTE = """\

# Hosts reached over ssh.
if ! command -v pdsh >/dev/null; then
  echo "pdsh is not installed, and it is needed to reach hosts over ssh: apt install pdsh, or dnf install pdsh" >&2
  exit 2
fi
export PDSH_SSH_ARGS_APPEND="-F ssh_config"
"${{tether[@]}}" setsid \\
  {pdsh} \\
  >&"$events" 2>&1 &
workers+=($!)
"""

_LEASE = """\

# Hosts that do not hear from us for long take us for gone.
control lease . --parent $$ &
lease=$!
"""

_TAIL = """\

interrupts=0
interrupt() {{
  interrupts=$((interrupts + 1))
  case $interrupts in
    # Then let go of hosts that gave no answer: they end by themselves, and are named below.
    1) {{ control stop .; kill "${{workers[@]}}" 2>/dev/null; }} & ;;
    2) {{ control stop . --now; kill "${{workers[@]}}" 2>/dev/null; }} & ;;
    *)
      echo "not shown to be stopped: {names}" >&2
      exit 3
      ;;
  esac
}}
trap interrupt INT TERM HUP

attend "$watcher"
{end_lease}control settle . --interrupts "$interrupts" "${{display[@]}}" &
attend $!
exit "$status"
"""


def render_script(plan: Plan, *, run_dir: Path, python: str) -> str:
    """The whole script. `run_dir` is absolute; `python` is this machine's interpreter that has shardfleet."""
    local = [host for host in plan.hosts if host.host.is_local]
    remote = [host for host in plan.hosts if not host.host.is_local]
    lease = bool(remote) and plan.options.lease_seconds is not None
    parts = [
        _HEAD.format(
            version=__version__,
            dataset=_comment(plan.dataset.name),
            revision=_comment(plan.dataset.revision[:12]),
            run_id=plan.run_id,
            units=len(plan.units),
            gigabytes=plan.bytes / 1e9,
            hosts=len(plan.hosts),
            ranks=plan.world_size,
            output_dir=_comment(plan.hosts[0].output_dir),
            holdout_dir=_comment(plan.hosts[0].holdout_dir),
            run_dir=shlex.quote(str(run_dir)),
            python=shlex.quote(python),
        )
    ]
    if remote:
        command = supervisor_command(plan, plan.remote_python)
        parts.append(_REMOTE.format(pdsh=_lines(pdsh_argv(_hosts(remote), command, local=False))))
    if local:
        command = supervisor_command(plan, plan.local_python)
        argv = pdsh_argv(_hosts(local), command, local=True)
        parts.append(
            _LOCAL.format(
                command=shlex.quote(command.replace("%%", "%")),
                pdsh=_lines(argv),
                names=" ".join(host.name for host in local),
            )
        )
    parts.append("\nexec {events}>&-\n")
    if lease:
        parts.append(_LEASE)
    names = " ".join(host.name for host in plan.hosts)
    parts.append(_TAIL.format(names=names, end_lease='kill "$lease" 2>/dev/null\n' if lease else ""))
    return "".join(parts)


def _hosts(plans: Sequence[HostPlan]) -> list[Host]:
    return [host.host for host in plans]


def _lines(argv: Sequence[str]) -> str:
    """A long command over two lines: everything quoted once, the host list and the command at the end."""
    cut = argv.index("-w")
    return f"{shlex.join(argv[:cut])} \\\n    {shlex.join(argv[cut:])}"


def _comment(text: str) -> str:
    """Text that cannot leave the comment it stands in."""
    return "".join(character if character.isprintable() else "?" for character in text)
