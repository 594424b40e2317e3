#!/usr/bin/env bash
# What `shardfleet export` writes, read by the trainers' own readers: test-interop.sh [READER…], of tests/interop/readers.
# Each has an environment of its own, .venv-interop/<reader>, because they want different versions of the same libraries;
# all of them take about 8 GB, mostly PyTorch. What could not be installed is named, and its tests skip.
set -euo pipefail
source "$(dirname "$0")/environment.sh"

readers=("$@")
((${#readers[@]})) || for list in tests/interop/readers/*.txt; do readers+=("$(basename "$list" .txt)"); done
missing=()

# install READER: its environment, unless it has these very versions already.
install() {
  local list=tests/interop/readers/$1.txt home=.venv-interop/$1
  [[ -e $home/made-for ]] && cmp -s "$list" "$home/made-for" && return 0
  rm -rf "$home"
  python3 -m venv "$home" || return
  local pip=("$home/bin/python" -m pip --quiet --disable-pip-version-check install)
  if [[ $1 == catid ]]; then
    # Source only: built here, with the C++ compiler of this machine.
    "${pip[@]}" cmake setuptools wheel packaging numpy==2.4.6 || return
    PATH="$PWD/$home/bin:$PATH" "${pip[@]}" --no-build-isolation -r "$list" || return
  else
    "${pip[@]}" -r "$list" || return
  fi
  cp "$list" "$home/made-for"
}

make_environment dev
for reader in "${readers[@]}"; do
  say "installing the reader of $reader"
  install "$reader" || missing+=("$reader")
done

say "reading"
python -m pytest tests/interop
if ((${#missing[@]})); then
  echo "not installed, so not read: ${missing[*]}" >&2
  exit 1
fi
