#!/usr/bin/env bash
# The same loss curve twice: by two processes without interruption; and by two that are killed with SIGKILL on the way,
# gone on with by one. Needs torch, and the shards of scripts/demo.sh or others.
#
#   examples/resume_demo.sh [SHARDS]     (default: demo/dataset_shard; STEPS=30, PYTHON=python3)
set -euo pipefail
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
shards=${1:-$repository/demo/dataset_shard}
python=${PYTHON:-python3}
steps=${STEPS:-30}
work=$(mktemp -d)
ranks=()
trap '((${#ranks[@]})) && kill -KILL "${ranks[@]}" 2>/dev/null; rm -rf "$work"' EXIT
export PYTHONPATH=$repository MASTER_ADDR=127.0.0.1

# start WORLD_SIZE NAME: what torchrun does, but the processes are ours to kill. They keep NAME.pt and NAME.jsonl.
start() {
  MASTER_PORT=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  export MASTER_PORT WORLD_SIZE=$1
  ranks=()
  for ((rank = 0; rank < $1; rank++)); do
    RANK=$rank "$python" "$repository/examples/train_gpt.py" "$shards" --checkpoint "$work/$2.pt" --log "$work/$2.jsonl" \
      --steps "$steps" --checkpoint-every 5 >"$work/$2.$rank.out" 2>&1 &
    ranks+=($!)
  done
}

# finish NAME: wait for them all.
finish() {
  for rank in "${!ranks[@]}"; do
    wait "${ranks[rank]}" || {
      cat "$work/$1.$rank.out" >&2
      exit 1
    }
  done
  ranks=()
}

echo "1. $steps steps on two processes"
start 2 whole
finish whole

echo "2. the same again, both killed with SIGKILL when step 12 is done"
start 2 killed
until [[ -e $work/killed.jsonl ]] && (($(wc -l <"$work/killed.jsonl") >= 12)); do
  kill -0 "${ranks[@]}" || finish killed
  sleep 0.02
done
kill -KILL "${ranks[@]}"
wait "${ranks[@]}" || true

echo "3. gone on with by one process"
start 1 killed
finish killed

"$python" - "$work/whole.jsonl" "$work/killed.jsonl" <<'END'
import json
import sys


def curve(path):
    """Step → every loss that was logged for it: what came after the last checkpoint was done twice."""
    losses = {}
    for line in open(path):
        found = json.loads(line)
        losses.setdefault(found["step"], []).append(found["loss"])
    return losses


whole, killed = map(curve, sys.argv[1:])
twice = [step for step, losses in killed.items() if len(losses) > 1]
worst = max(abs(loss - whole[step][0]) for step, losses in killed.items() for loss in losses)
print(f"{len(whole)} steps without, {len(killed)} with the kill; done twice: {twice}")
print(f"loss {whole[1][0]:.4f} to {whole[max(whole)][0]:.4f}; the curves differ by {worst:.1e} at most (1e-3 is allowed)")
sys.exit(whole.keys() != killed.keys() or worst > 1e-3)
END
