#!/usr/bin/env bash
# The whole thing on this machine, from nothing: a dataset of the texts that every machine has, a tokenizer trained on
# them, a local Hub that serves both, the ranks of hosts.txt, verified shards. Needs Python and a package index.
#
#   scripts/demo.sh [DIRECTORY]     (default: demo, emptied first)
set -euo pipefail
asked=${1:-}
[[ -z $asked || $asked == /* ]] || asked=$PWD/$asked
source "$(dirname "$0")/environment.sh"
demo=${asked:-$repository/demo}

install_missing pdsh=pdsh
make_environment hub

say "1. A dataset: sources and documentation of Python itself, as Parquet; and a byte-level BPE trained on it"
if [[ -e $demo && ! -e $demo/.shardfleet-demo ]]; then
  echo "$demo exists and is no earlier demo: name another directory" >&2
  exit 2
fi
rm -rf "$demo"
mkdir -p "$demo"
touch "$demo/.shardfleet-demo"
python scripts/demo_dataset.py "$demo/hub"

say "2. A local Hub that serves them, as the Hugging Face Hub would"
shardfleet hub serve "$demo/hub" --port 0 --ready-file "$demo/endpoint" &
hub=$!
trap 'kill $hub 2>/dev/null' EXIT
until [[ -s $demo/endpoint ]]; do
  kill -0 $hub || exit 1
  sleep 0.1
done
HF_ENDPOINT=$(cat "$demo/endpoint")
export HF_ENDPOINT HF_HOME=$demo/hf_home

say "3. The plan, and run_all_hosts.sh from it"
options=(
  --hosts "$repository/hosts.txt" --dataset demo/python-texts --tokenizer hf:demo/python-bpe --holdout-rate 1%
  --output-dir "$demo/dataset_shard" --holdout-dir "$demo/holdout_shard" --run-dir "$demo/run"
)
cd "$demo"
shardfleet plan "${options[@]}"
shardfleet script "${options[@]}"

say "4. The run: ./run_all_hosts.sh  ('shardfleet launch' is steps 3 and 4 in one)"
./run_all_hosts.sh

say "5. Every row exactly once, every byte as recorded"
shardfleet verify "$demo/run"

say "6. What the shards hold, and a document"
shardfleet inspect "$demo/dataset_shard" --documents 1 --tokenizer "$(echo "$demo"/run/tokenizer/*)"

say "Where everything is"
cat <<EOF
  tokens             $demo/dataset_shard   (NNNNNN.bin, .idx: a Megatron prefix each; .json: what it holds)
  holdout            $demo/holdout_shard
  plan, events, log  $demo/run
  the script         $demo/run_all_hosts.sh

With real hosts in hosts.txt, the real thing is one command:

  shardfleet launch --dataset HuggingFaceFW/fineweb-edu --config sample-10BT
EOF
