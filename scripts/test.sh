#!/usr/bin/env bash
# Set-up and every check: format, lint, types, shell syntax, tests. Arguments go to pytest.
set -euo pipefail
source "$(dirname "$0")/environment.sh"

install_missing pdsh=pdsh sshd=openssh-server ssh=openssh-client ip=iproute2 tc=iproute2 shellcheck=shellcheck setpriv=util-linux
make_environment dev

say "format and lint"
ruff format --check .
ruff check .
for script in scripts/*.sh examples/*.sh .ci/run; do bash -n "$script"; done
if command -v shellcheck >/dev/null; then shellcheck --exclude=SC1091 scripts/*.sh examples/*.sh .ci/run; fi

say "types"
mypy

say "tests"
# Most tests wait for hosts: a few at once take half the time. A file stays together, with what its tests share; in order,
# so that the longest do not come last.
code=0
python -m pytest --numprocesses "${SHARDFLEET_TEST_PROCESSES:-3}" --dist loadfile --no-loadscope-reorder "$@" || code=$?
if [ "$code" -ne 1 ]; then exit "$code"; fi

# Whole clusters beside each other on two cores: a host that answers within its seconds may not get the processor for as
# long. What fails beside others must pass alone; what it said stands above.
say "the tests that failed, one at a time"
python -m pytest --last-failed --last-failed-no-failures none "$@"
