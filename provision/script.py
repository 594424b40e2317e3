"""Plan → text of run_all_hosts.sh (pure). The script is the run: `launch` only writes and starts it."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from provision import __version__
from provision.hosts import Host
from provision.pdsh import pdsh_argv, pdsh_command, supervisor_command
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
{overwrite}#
# Does the whole job by itself: sends every host its part, starts the workers there with pdsh, shows their progress,
# and at the end asks every host what is left. Run it again and it continues where it stopped.
#
#   ./run_all_hosts.sh [--plain | --json]
#
# Ctrl+C stops every host; a second one at once; a third leaves without waiting for the hosts' answers.
# Exit code: 0 every unit is committed; 1 something is missing; 2 refused; 130 stopped, and shown to be; 3 stopped, but
# not shown to be on the hosts named.

set -uo pipefail

case "$*" in
  '' | --plain | --json) ;;
  *)
    echo "usage: $0 [--plain | --json]" >&2
    exit 2
    ;;
esac

run_dir={run_dir}
python={python}
display=("$@")
hosts={names}

# Paths from here on are relative: pdsh cannot pass one with a space to ssh.
cd "$run_dir" || exit 2

# Always in a subshell, which becomes the command: its process id is that of the command, its parent is this script.
control() {{ exec "$python" -m provision.control "$@"; }}
# The same for what must come to its end, however many signals come.
deaf() {{ trap '' INT TERM HUP; control "$@"; }}

# Wait for a child to its end, through any number of signals; its exit code is in $status.
attend() {{
  until wait "$1"; status=$?; ! kill -0 "$1" 2>/dev/null; do :; done
  wait "$1" 2>/dev/null
  local again=$?
  ((again == 127)) || status=$again
}}

# Before there is work, an interrupt ends what is waited for; once there is, it stops the hosts.
interrupts=0 workers=() watcher='' stopping=()
trap 'interrupts=$((interrupts + 1)); kill $(jobs -p) 2>/dev/null' INT TERM HUP

interrupt() {{
  interrupts=$((interrupts + 1))
  case $interrupts in
    1) stop_hosts & ;;
    2) stop_hosts --now & ;;
    *)
      echo "not shown to be stopped: $hosts" >&2
      exit 3
      ;;
  esac
  stopping+=($!)
}}

stop_hosts() {{
  trap '' INT TERM HUP
  (control stop . "$@")
  # Let go of hosts that gave no answer: they end by themselves, and are named below.
  kill "${{workers[@]}}" 2>/dev/null
}}

# A killed launcher must not leave a job behind: the kernel ends pdsh with this shell, ssh ends with pdsh, and the
# workers end when their standard input does.
tether=()
command -v setpriv >/dev/null && tether=(setpriv --pdeathsig KILL)
"""

_OVERWRITE = "#   NOTE      shards of another fingerprint in those directories are REPLACED (--overwrite)\n"

_REMOTE = """\

# Workers on hosts reached over ssh.
start_remote() {{
  PDSH_SSH_ARGS_APPEND="-F ssh_config" "${{tether[@]}}" setsid \\
    {pdsh} \\
    >&"$events" 2>&1 &
  workers+=($!)
}}
"""

_LOCAL = """\

# Workers on hosts that are this machine.
start_local() {{
  "${{tether[@]}}" setsid \\
    {pdsh} \\
    >&"$events" 2>&1 &
  workers+=($!)
}}
"""

_LOCAL_WITHOUT_PDSH = """\

start_local_without_pdsh() {{
  local command commands=({commands})
  rm -f death_pipe
  mkfifo -m 600 death_pipe
  exec {{death}}<>death_pipe # this shell is its only writer
  for command in "${{commands[@]}}"; do
    setsid sh -c "$command" <death_pipe >&"$events" 2>&1 {{death}}>&- &
    workers+=($!)
  done
}}
"""

_MAIN = """\
{require_pdsh}
# One launcher a run. Whoever still stops an earlier one holds the lock, too.
exec {{lock}}>lock
if command -v flock >/dev/null && ! flock --nonblock "$lock"; then
  echo "waiting for an earlier start of run {run_id} to end" >&2
  flock --wait 45 "$lock" &
  attend $!
  if ((status != 0 && interrupts == 0)); then
    echo "run {run_id} is already under way; stop it with 'shardfleet abort {run_id}'" >&2
    exit 2
  fi
fi
((interrupts == 0)) || exit 130 # nothing has been started

{{ trap '' INT; control push .; }} & # ended by the trap above, once and without a word
attend $!
((status == 0 || interrupts > 0)) || exit "$status"

trap 'interrupts=$((interrupts + 1))' INT TERM HUP # heeded when everything has been started
if ((interrupts == 0)); then
  # Whatever the hosts say goes to the watcher, which ends when the last of them has hung up.
  exec {{events}}> >(deaf watch . "${{display[@]}}")
  watcher=$!
{start}  exec {{events}}>&-
{lease}fi
trap interrupt INT TERM HUP
if ((interrupts > 0)) || [[ -e aborted ]]; then
  interrupts=0
  interrupt
fi

[[ -z $watcher ]] || attend "$watcher"
deaf settle . --interrupts "$interrupts" "${{display[@]}}" &
attend $!
code=$status
for stopper in "${{stopping[@]}}"; do attend "$stopper"; done
exit "$code"
"""

_REQUIRE_PDSH = """
if ! command -v pdsh >/dev/null; then
  echo "pdsh is not installed, and it is needed to reach hosts over ssh: apt install pdsh, or dnf install pdsh" >&2
  exit 2
fi
"""

_START_LOCAL = """\
  if command -v pdsh >/dev/null; then
    start_local
  else
    echo "pdsh is not installed: starting the workers of this machine without it" >&2
    start_local_without_pdsh
  fi
"""

_LEASE = """\
  # Hosts that do not hear from us for long take us for gone.
  deaf lease . --parent $$ &
"""


def render_script(plan: Plan, *, run_dir: Path, python: str) -> str:
    """The whole script. `run_dir` is absolute; `python` is this machine's interpreter that has shardfleet."""
    local = [host for host in plan.hosts if host.host.is_local]
    remote = [host for host in plan.hosts if not host.host.is_local]
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
            overwrite=_OVERWRITE if plan.overwrite else "",
            run_dir=shlex.quote(str(run_dir)),
            python=shlex.quote(python),
            names=shlex.quote(" ".join(host.name for host in plan.hosts)),
        )
    ]
    start = ""
    if remote:
        command = pdsh_command(plan, plan.remote_python)
        parts.append(_REMOTE.format(pdsh=_lines(pdsh_argv(_hosts(remote), command, local=False))))
        start += "  start_remote\n"
    if local:
        command = pdsh_command(plan, plan.local_python)
        parts.append(_LOCAL.format(pdsh=_lines(pdsh_argv(_hosts(local), command, local=True))))
        start += "  start_local\n" if remote else _START_LOCAL
    if local and not remote:
        commands = shlex.join(supervisor_command(plan, plan.local_python, host.name) for host in local)
        parts.append(_LOCAL_WITHOUT_PDSH.format(commands=commands))
    lease = bool(remote) and plan.options.on_disconnect == "stop" and plan.options.lease_seconds is not None
    parts.append(
        _MAIN.format(
            run_id=plan.run_id,
            require_pdsh=_REQUIRE_PDSH if remote else "",
            start=start,
            lease=_LEASE if lease else "",
        )
    )
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
