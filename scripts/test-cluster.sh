#!/usr/bin/env bash
# Hosts made of network namespaces on this machine, with a Hub, to try shardfleet on. Needs root.
#
#   scripts/test-cluster.sh up N [--hub DIRECTORY]     make them, and say how to launch on them
#   scripts/test-cluster.sh status | down
#   scripts/test-cluster.sh exec HOST COMMAND…
#   scripts/test-cluster.sh link HOST up|down
#   scripts/test-cluster.sh rate HOST 8mbit|off
#
# State lies in ${XDG_RUNTIME_DIR:-/tmp}/shardfleet-hosts. The package comes from the environment that is active when it
# has the tests' libraries, else from .venv, which is made when it is missing.
set -euo pipefail
called_from=$PWD
source "$(dirname "$0")/environment.sh"
repository=$PWD

if [[ $EUID -ne 0 ]]; then
  echo "needs root, to make network namespaces: sudo $0 $*" >&2
  exit 2
fi
have='from importlib.util import find_spec as f; raise SystemExit(not all(map(f, ("provision", "pytest", "uvicorn"))))'
if ! python -c "$have" 2>/dev/null; then
  install_missing ip=iproute2 tc=iproute2 sshd=openssh-server ssh=openssh-client pdsh=pdsh >&2
  make_environment dev >&2
fi
cd "$called_from"
PYTHONPATH=$repository exec python -m tests.support.netns_cli "$@"
