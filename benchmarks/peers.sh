#!/usr/bin/env bash
# One virtual environment for every contender of others, with the exact versions of benchmarks/peers/<name>.txt, and of
# benchmarks/loaders/<name>.txt for readers whose packages none of those has.
#
#     benchmarks/peers.sh [--work DIR] [NAME...]
#
# Without names: all of them. The environments go to DIR/peers/<name>, DIR as for run.py; what is there with the same
# versions stays. A contender that cannot be installed is reported and the others go on; the exit code then is 1.
# PYTHON names the interpreter to make them with (default python3).
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${TMPDIR:-/tmp}/shardfleet-benchmarks
python=${PYTHON:-python3}
# PyTorch for processors only is not on PyPI; asked for when the configured indexes do not have it.
torch_index=https://download.pytorch.org/whl/cpu

known=()
for list in "$here"/{peers,loaders}/*.txt; do
    name=$(basename "$list" .txt)
    [[ $name == *.build ]] || known+=("$name")
done

names=()
while (($#)); do
    case $1 in
        --work)
            work=${2:?"--work needs a directory"}
            shift
            ;;
        -*)
            sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
            [[ $1 == -h || $1 == --help ]]
            exit $((2 * $?))
            ;;
        *)
            if [[ " ${known[*]} " != *" $1 "* ]]; then
                echo "peers.sh: $1: not among ${known[*]}" >&2
                exit 2
            fi
            names+=("$1")
            ;;
    esac
    shift
done
((${#names[@]})) || names=("${known[@]}")

# install NAME: make its environment, all of pip's output in a log beside it.
install() {
    local list build environment=$work/peers/$1
    list=$(list_of "$1")
    build=${list%.txt}.build.txt
    local pip=("$environment/bin/python" -m pip --disable-pip-version-check install --no-deps)
    rm -rf "$environment"
    "$python" -m venv "$environment" || return
    if [[ -e $build ]]; then
        "${pip[@]}" -r "$build" || return
        pip+=(--no-build-isolation)
        PATH=$environment/bin:$PATH
    fi
    if ! "${pip[@]}" -r "$list"; then
        grep -q '+cpu$' "$list" || return
        "${pip[@]}" --extra-index-url "$torch_index" -r "$list" || return
    fi
    sum_of "$1" >"$environment/installed"
}

# list_of NAME: the file with its versions.
list_of() {
    if [[ -e $here/peers/$1.txt ]]; then echo "$here/peers/$1.txt"; else echo "$here/loaders/$1.txt"; fi
}

# sum_of NAME: of all its lists.
sum_of() {
    local list
    list=$(list_of "$1")
    cat "${list%.txt}"*.txt | sha256sum
}

mkdir -p "$work/peers" || exit
failed=()
for name in "${names[@]}"; do
    stamp=$work/peers/$name/installed
    if [[ -e $stamp && $(sum_of "$name") == "$(<"$stamp")" ]]; then
        echo "$name: is there"
        continue
    fi
    began=$SECONDS
    log=$work/peers/$name.log
    if (install "$name") >"$log" 2>&1; then
        echo "$name: installed in $((SECONDS - began)) s"
    else
        failed+=("$name")
        echo "$name: not installed; the end of $log:" >&2
        tail -n 5 "$log" | sed 's/^/    /' >&2
    fi
done
if ((${#failed[@]})); then
    echo "peers.sh: not installed: ${failed[*]}" >&2
    exit 1
fi
