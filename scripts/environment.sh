# shellcheck shell=bash
# Sourced by the other scripts: makes .venv with the package in it, and system packages where that is possible.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
repository=$PWD

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# install_missing COMMAND=PACKAGE…: with apt, as root or through sudo without a password; elsewhere say what is missing.
install_missing() {
  local pair packages=() as_root=()
  for pair in "$@"; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%=*}" >/dev/null || packages+=("${pair#*=}")
  done
  ((${#packages[@]})) || return 0
  ((EUID == 0)) || as_root=(sudo -n)
  if command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
    say "installing ${packages[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" >/dev/null && return 0
  fi
  echo "not installed: ${packages[*]}; what needs them is left out or done without" >&2
}

# make_environment EXTRA…: .venv with this checkout and the extras, renewed when pyproject.toml has changed.
make_environment() {
  local extras wanted
  extras=$(IFS=,; echo "$*")
  wanted="$extras $(sha256sum pyproject.toml)"
  export PATH="$repository/.venv/bin:$PATH"
  [[ -f .venv/made-for && $(cat .venv/made-for) == "$wanted" ]] && return 0
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed; this is $(python3 --version)" >&2
    exit 2
  }
  python3 -c 'import ensurepip' 2>/dev/null || install_missing "no-such-command=python3-venv"
  say "making .venv with shardfleet[$extras]"
  python3 -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
  echo "$wanted" >.venv/made-for
}
