"""The pieces of run_all_hosts.sh, in the order in which they stand there; `script` puts them together."""

HEAD = """\
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
{what}
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
{token}
# Paths from here on are relative: pdsh cannot pass one with a space to ssh.
cd "$run_dir" || exit 2
trap 'rm -f token' EXIT # where no watcher comes to take it

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
interrupts=0 status=0 workers=() death='' watcher='' stopping=()
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

hang_up() {{
  ((${{#workers[@]}} == 0)) || kill "${{workers[@]}}" 2>/dev/null
  [[ -z $death ]] || exec {{death}}>&-
}}

# A killed launcher must not leave a job behind: the kernel ends pdsh with this shell, ssh ends with pdsh, and the
# workers end when their standard input does.
tether=()
command -v setpriv >/dev/null && tether=(setpriv --pdeathsig KILL)
"""

HAND_OVER = """
# An environment can be listed by others of this user: a token in it waits in a file, for the watcher to take.
token=${HF_TOKEN:-${HUGGING_FACE_HUB_TOKEN:-}}
if [[ -n $token ]]; then
  (umask 077 && printf '%s' "$token" >"$run_dir/token") || exit 2
  unset HF_TOKEN HUGGING_FACE_HUB_TOKEN
  exec bash "$0" "$@"
fi
"""

ATTACHED = """\
# Does the whole job by itself: sends every host its part, starts the workers there with pdsh, shows their progress,
# and at the end asks every host what is left. Run it again and it continues where it stopped.
#
#   ./run_all_hosts.sh [--plain | --json]
#
# Ctrl+C stops every host; a second one at once; a third leaves without waiting for the hosts' answers.
# Exit code: 0 every unit is committed; 1 something is missing; 2 refused; 130 stopped, and shown to be; 3 stopped, but
# not shown to be on the hosts named.
"""

DETACHED = """\
# Sends every host its part, starts the workers there with pdsh, and ends: from then on the hosts work by themselves.
# When they have ended, run it again and it continues where they stopped.
#
#   ./run_all_hosts.sh [--plain | --json]
#
#   shardfleet attach {run_id}     shows the hosts at work; Ctrl+C there detaches
#   shardfleet status {run_id}     how far they are
#   shardfleet abort {run_id}      stops them
#
# Ctrl+C, here, stops every host; a second one at once; a third leaves without waiting for the hosts' answers.
# Exit code: 0 every host is at work; 1 not every one, those are named; 2 refused; 130 stopped, and shown to be;
# 3 stopped, but not shown to be on the hosts named.
"""

OVERWRITE = "#   NOTE      shards of another fingerprint in those directories are REPLACED (--overwrite)\n"

REMOTE = """\

# Workers on hosts reached over ssh.
start_remote() {{
  PDSH_SSH_ARGS_APPEND="-F ssh_config" "${{tether[@]}}" setsid \\
    {pdsh} \\
    >&"$events" 2>&1 &
  workers+=($!)
}}
"""

LOCAL = """\

# Workers on hosts that are this machine.
start_local() {{
  "${{tether[@]}}" setsid \\
    {pdsh} \\
    >&"$events" 2>&1 &
  workers+=($!)
}}
"""

LOCAL_WITHOUT_PDSH = """\

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

BEGIN = """\
{require_pdsh}
# One launcher a run. Whoever still stops an earlier one holds the lock, too.
exec {{lock}}>lock
if command -v flock >/dev/null && ! flock --nonblock "$lock"; then
  echo "waiting for an earlier start of run {run_id} to end" >&2
  flock --wait 45 "$lock" &
  attend $!
  if ((status != 0 && interrupts == 0)); then
    echo "run {run_id} is already under way; see it with 'shardfleet attach {run_id}', or stop it with" \\
      "'shardfleet abort {run_id}'" >&2
    exit 2
  fi
fi
((interrupts == 0)) || exit 130 # nothing has been started

{{ trap '' INT; control push .; }} & # ended by the trap above, once and without a word
attend $!
((status == 0 || interrupts > 0)) || exit "$status"
"""

RUN = """\

trap 'interrupts=$((interrupts + 1))' INT TERM HUP # heeded when everything has been started
if ((interrupts == 0)); then
  # Whatever the hosts say goes to the watcher, which ends when the last of them has hung up.
  exec {{events}}> >(deaf {watcher} "${{display[@]}}")
  watcher=$!
  trap - EXIT
{start}  exec {{events}}>&-
{lease}fi
trap interrupt INT TERM HUP
if ((interrupts > 0)) || [[ -e aborted ]]; then
  interrupts=0
  interrupt
fi

[[ -z $watcher ]] || attend "$watcher"
code=$status
"""

SETTLE = """\
# Hosts that have nothing left to do wait for this.
hang_up
deaf settle . --interrupts "$interrupts" "${display[@]}" &
attend $!
code=$status
"""

SETTLE_IF_STOPPED = """\
# Hosts that have been started go on without us; only when they are not to are they asked what is left.
if ((interrupts > 0)) || [[ -e aborted ]]; then
  deaf settle . --interrupts "$interrupts" "${display[@]}" &
  attend $!
  code=$status
fi
"""

END = """\
for stopper in "${stopping[@]}"; do attend "$stopper"; done
exit "$code"
"""

REQUIRE_PDSH = """
if ! command -v pdsh >/dev/null; then
  echo "pdsh is not installed, and it is needed to reach hosts over ssh: apt install pdsh, or dnf install pdsh" >&2
  exit 2
fi
"""

START_LOCAL = """\
  if command -v pdsh >/dev/null; then
    start_local
  else
    echo "pdsh is not installed: starting the workers of this machine without it" >&2
    start_local_without_pdsh
  fi
"""

LEASE = """\
  # Hosts that do not hear from us for long take us for gone.
  deaf lease . --parent $$ &
"""
