#!/usr/bin/env bash
# What shardfleet writes for trainers, read by the trainers' own readers: test-interop.sh [READER…].
#
# Readers: catid datatrove litdata mds megatron olmo parquet, and torch for our own loader; without names, all of them.
# Each has an environment of its own, .venv-interop/<reader> or under SHARDFLEET_INTEROP, with the versions that
# pyproject.toml pins in the group interop-<reader>; they share one PyTorch. All of them take about 4 GB. What could not
# be installed is named at the end, and its tests are skipped; the exit code is that of the tests.
set -euo pipefail
source "$(dirname "$0")/environment.sh"

make_environment dev
known=(torch catid datatrove litdata mds megatron olmo parquet)
readers=("$@")
((${#readers[@]})) || readers=("${known[@]}")
for reader in "${readers[@]}"; do
  [[ " ${known[*]} " == *" $reader "* ]] || {
    echo "$reader: not among ${known[*]}" >&2
    exit 2
  }
done
# PyTorch for processors only is not on PyPI; asked for when the configured indexes do not have it.
torch_index=https://download.pytorch.org/whl/cpu
missing=()
environments=${SHARDFLEET_INTEROP:-.venv-interop}
mkdir -p "$environments"
environments=$(cd "$environments" && pwd)
export SHARDFLEET_INTEROP=$environments

# pins GROUP: the requirements of a dependency group and of those that it includes, one a line.
pins() {
  python - "$1" <<'PYTHON'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    groups = tomllib.load(file)["dependency-groups"]
left = [sys.argv[1]]
for name in left:
    for entry in groups[name]:
        if isinstance(entry, str):
            print(entry)
        else:
            left.append(entry["include-group"])
PYTHON
}

pip_of() { "$1/bin/python" -m pip --quiet --disable-pip-version-check install "${@:2}"; }

# fill NAME ENVIRONMENT PINS
fill() {
  case $1 in
    torch)
      sed '/^torch==/s/$/+cpu/' "$3" >"$2/cpu.txt"
      pip_of "$2" -r "$2/cpu.txt" || pip_of "$2" --extra-index-url "$torch_index" -r "$2/cpu.txt"
      ;;
    catid)
      # Source only: built here, with the C++ compiler of this machine.
      pip_of "$2" cmake setuptools wheel packaging || return
      PATH="$2/bin:$PATH" pip_of "$2" --no-build-isolation -r "$3"
      ;;
    *)
      make_reader torch || return
      # One PyTorch for all of them, 1 GB: seen through its environment's path.
      echo "$environments"/torch/lib/python3*/site-packages >"$(echo "$2"/lib/python3*/site-packages)/torch.pth"
      pip_of "$2" -r "$3"
      ;;
  esac
}

# make_reader NAME: its environment; what is there with the same pins stays.
make_reader() {
  local home=$environments/$1 wanted=$environments/$1.txt
  pins "interop-$1" >"$wanted" || return
  cmp -s "$wanted" "$home/made-for" && return 0
  say "installing $1"
  rm -rf "$home"
  if python3 -m venv "$home" && fill "$1" "$home" "$wanted"; then
    cp "$wanted" "$home/made-for"
  else
    rm -rf "$home"
    return 1
  fi
}

for reader in "${readers[@]}"; do
  make_reader "$reader" || missing+=("$reader")
done

say "reading"
status=0
mapfile -t ours < <(grep -l torch_python tests/loader/test_*.py)
python -m pytest tests/interop "${ours[@]}" || status=$?
((${#missing[@]} == 0)) || echo "not installed, so not read by its own reader: ${missing[*]}" >&2
exit "$status"
