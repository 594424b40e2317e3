"""Any text at all where a name belongs: what shells make of it is the text that was given, or it is refused."""

import os
import re
import subprocess
from pathlib import Path

from fsspec.utils import glob_translate
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provision.catalog.types import choose
from provision.errors import HostsFileError
from provision.hosts import parse_hosts
from provision.prepare.script import render_script
from provision.reach.quoting import remote_command
from tests.support.plans import plan_of

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
"""What an argument of a command can be: no NUL, and nothing that is not UTF-8."""
PIECES = st.sampled_from(
    [*"'\"`$(){}[]<>|&;!*?~#%=\\ \t\n\r-/:@,^.", "$(", "%h", "\u2028", "\u202e", "\x1b", "é", "a", "8"]
)
HOSTILE = st.one_of(ANY_TEXT, st.lists(PIECES, max_size=12).map("".join))


def words_of(script: str, *names: str) -> list[str]:
    """What bash makes of the variables that a script sets in its head."""
    head = script[: script.index("\n# Paths from here on")]
    shown = "".join(f"printf '%s\\0' \"${{{name}}}\"\n" for name in names)
    done = subprocess.run(["bash", "-c", f"{head}\n{shown}"], capture_output=True, env={"PATH": os.environ["PATH"]})
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().split("\0")[:-1]


def split_by_shell(line: str) -> list[str]:
    """The words of one command, as sh splits them, its home being `/home/of sb.`."""
    asked = f"set -- {line}\nprintf '%s\\0' \"$@\""
    done = subprocess.run(["sh", "-c", asked], capture_output=True, env={"HOME": "/home/of sb."})
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().split("\0")[:-1]


@given(HOSTILE, HOSTILE, HOSTILE)
@example("gpu[1-2] 8", " output_dir='/x y'", "")
@example("gpu3", " 8 ", "\n-oProxyCommand=x 8")
@settings(max_examples=100, deadline=None)
def test_any_line_of_hosts(name: str, rest: str, more: str) -> None:
    """Any text as hosts.txt is refused by line, or gives hosts whose names mean nothing to a shell, pdsh or ssh."""
    try:
        hosts = parse_hosts(f"{name}{rest}{more}")
    except HostsFileError as error:
        assert str(error).startswith("hosts.txt:")
        return
    safe = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    for host in hosts:
        assert set(host.name) | set(host.user or "") <= safe
        assert not host.target.startswith(("-", "."))
    script = render_script(plan_of(hosts), run_dir=Path("/r"), python="/p")
    assert subprocess.run(["bash", "-n"], input=script.encode(), capture_output=True).returncode == 0
    assert words_of(script, "hosts") == [" ".join(host.name for host in hosts)]


@given(ANY_TEXT | HOSTILE, HOSTILE, HOSTILE, HOSTILE)
@settings(max_examples=100, deadline=None)
def test_any_name_in_the_script(run_dir: str, python: str, dataset: str, directory: str) -> None:
    """Any text as directory, interpreter or dataset: the script is bash, and its words are what was given."""
    plan = plan_of(name=dataset, output_dir=directory, holdout_dir=directory)
    script = render_script(plan, run_dir=Path("/runs", run_dir.replace("/", "")), python=f"/{python}")
    assert subprocess.run(["bash", "-n"], input=script.encode(), capture_output=True).returncode == 0
    assert words_of(script, "run_dir", "python") == [str(Path("/runs", run_dir.replace("/", ""))), f"/{python}"]


@given(st.lists(HOSTILE, min_size=1, max_size=4))
@example(["~/a b", "~", "~root", "-n"])
@settings(max_examples=100, deadline=None)
def test_any_argument_on_a_host(arguments: list[str]) -> None:
    """Any arguments of a command on a host are its arguments there, `~/` alone meaning the home directory."""
    wanted = [
        "/home/of sb." + argument[1:] if argument == "~" or argument.startswith("~/") else argument
        for argument in arguments
    ]
    assert split_by_shell(remote_command(arguments)) == wanted


GLOBS = st.lists(st.sampled_from(["a", "b", "*", "?", "[ab]", ".", "ab", "a*", "*b*"]), min_size=1, max_size=3)
PATHS = st.lists(st.text("ab.", min_size=1, max_size=3), min_size=1, max_size=5).map("/".join)


@given(st.lists(GLOBS.map("".join).filter(lambda n: "**" not in n) | st.just("**"), min_size=1, max_size=4), PATHS)
@settings(max_examples=300, deadline=None)
def test_any_glob(parts: list[str], path: str) -> None:
    """Globs mean what they mean to fsspec, and take a time that does not depend on how often they could match."""
    glob = "/".join(parts)
    known = re.match(glob_translate(glob), path) is not None
    assert glob.startswith("./") or (choose([path], [glob]) == [path]) == known
