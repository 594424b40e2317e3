"""run_all_hosts.sh: what is in it, and that nothing in it is ever taken for a command.

The script runs for real here, under bash and, where there are hosts to reach, under pdsh. What stands in for the
interpreter and for ssh are foreign programs that write down how they were called.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from provision.hosts import Host
from provision.plan.plan import Plan, Policy
from provision.prepare.script import render_script
from shard.records.options import Options
from tests.support.plans import plan_of

PDSH = pytest.mark.skipif(shutil.which("pdsh") is None, reason="needs pdsh: apt install pdsh")

DETACHED = Policy(detached=True)
LOCAL = Host(name="localhost", ranks=2)
REMOTE = (Host(name="alpha", ranks=2), Host(name="beta.lan", ranks=1, user="bob"))

_INTERPRETER = """\
#!/bin/sh
record=$(mktemp "$RECORDS/called.XXXXXX")
for word in "$0" "$@"; do [ "$word" != "$PPID" ] || word=PARENT; printf '%s\\0' "$word"; done >"$record.part"
mv "$record.part" "$record"
case "$*" in *"control watch"*) cat >/dev/null ;; *"control settle"*) exit "${SETTLE:-0}" ;; esac
case "$*" in *"control started"*) cat >/dev/null; exit "${STARTED:-0}" ;; esac
case "$*" in *"control push"*) exit "${PUSH:-0}" ;; esac
"""

_SSH = """\
#!/bin/sh
record=$(mktemp "$RECORDS/ssh.XXXXXX")
for word in ssh "$@"; do printf '%s\\0' "$word"; done >"$record.part" && mv "$record.part" "$record"
for command; do :; done
exec sh -c "$command"
"""

_TOOLS = ("bash", "sh", "env", "setpriv", "setsid", "flock", "mkfifo", "rm", "mv", "cat", "mktemp")

# Pieces that do something where they are not quoted, or not enough, or too much.
_PIECES = st.sampled_from(
    [
        *("'", '"', "`touch pwned`", "$(touch pwned)", "${HOME}", "; touch pwned;", "&& touch pwned", "| touch pwned"),
        *(
            "\n",
            "\ntouch pwned\n",
            "\\",
            "\\'",
            "'; touch pwned; '",
            '"; touch pwned; "',
            " ",
            "  ",
            "\t",
            "#",
            "~",
            "*",
        ),
        *(
            "%h",
            "%%",
            "%",
            "%n",
            "%u",
            "%s",
            "&",
            "!",
            "!!",
            "{}",
            "{x}",
            "=",
            "-",
            "--",
            "ü",
            "日本",
            "<",
            ">",
            "(",
            ")",
        ),
        *("a", "data", "x y", "$'\\n'", "\r", "\x07", "\x1b[31m"),
    ]
)
HOSTILE = st.lists(_PIECES, min_size=1, max_size=6).map("".join)
# A leading "-" would be an option of mkdir in the test, not of ours: paths are absolute.
HOSTILE_NAME = HOSTILE.filter(lambda name: name not in {".", ".."} and len(name.encode()) < 200 and "=" not in name)


@dataclass
class Stage:
    """A directory with a stand-in interpreter, a stand-in ssh, and what they wrote down."""

    root: Path

    def __post_init__(self) -> None:
        self.records = self.root / "records"
        self.home = self.root / "home"
        self.bin = self.root / "bin"
        for directory in (self.records, self.home, self.bin):
            directory.mkdir()
        self.program(self.bin / "ssh", _SSH)

    def program(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(
        self, script: str, *arguments: str, path: str | None = None, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        file = self.root / "run_all_hosts.sh"
        file.write_text(script)
        search = path or f"{self.bin}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", str(file), *arguments],
            cwd=self.root,
            env={"PATH": search, "HOME": str(self.home), "RECORDS": str(self.records), **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def calls(self, kind: str) -> list[list[str]]:
        """How the stand-ins were called: program and arguments, in no order. The lease is a loop of its own."""
        read = (path.read_bytes().decode() for path in self.records.glob(f"{kind}.??????"))
        calls = [text.split("\0")[:-1] for text in read]
        return sorted(call for call in calls if "lease" not in call)

    def pwned(self) -> list[str]:
        return [str(path) for path in self.root.rglob("*") if path.name.startswith("pwned")]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def script_of(plan: Plan, run_dir: Path = Path("/runs/r"), python: str = "/usr/bin/python3") -> str:
    return render_script(plan, run_dir=run_dir, python=python)


def steps_of(run_dir: str, python: Path, *arguments: str, interrupts: str = "0") -> list[list[str]]:
    """How a whole run calls the interpreter of this machine."""
    control = [str(python), "-m", "provision.control"]
    return sorted(
        [
            [*control, "push", "."],
            [*control, "watch", ".", "--parent", "PARENT", *arguments],
            [*control, "settle", ".", "--interrupts", interrupts, *arguments],
        ]
    )


@pytest.mark.parametrize("hosts", [(LOCAL,), REMOTE, (LOCAL, *REMOTE)], ids=["local", "remote", "both"])
def test_script_reads_as_steps(hosts: tuple[Host, ...]) -> None:
    """The script is: who it is, lock, push, watch, start, settle; in this order, and the exit code is the last line."""
    script = script_of(plan_of(hosts))
    start = "  start_local\n" if LOCAL in hosts else "  start_remote\n"
    steps = [
        *("#!/usr/bin/env bash\n", "set -uo pipefail", 'cd "$run_dir" || exit 2\n', "exec {lock}>lock\n"),
        *("control push .", " watch . ", start, 'attend "$watcher"\n', " settle . --interrupts"),
    ]
    found = [script.index(step) for step in steps]
    assert found == sorted(found)
    assert re.search(r'\nexit "\$\w+"\n\Z', script)


@pytest.mark.parametrize("hosts", [(LOCAL,), REMOTE, (LOCAL, *REMOTE)], ids=["local", "remote", "both"])
def test_detached_script_only_starts(hosts: tuple[Host, ...]) -> None:
    """Of a detached run the script starts the hosts and tells of that; nothing in it watches or renews a lease."""
    script = script_of(plan_of(hosts, policy=DETACHED, options=Options(on_disconnect="continue")))
    steps = ["control push .", " started . ", "start_local\n" if LOCAL in hosts else "start_remote\n", " settle . "]
    found = [script.rindex(step) for step in steps]
    assert found == sorted(found)
    assert "-m shard start --job" in script
    assert not any(word in script for word in ("deaf watch", "deaf lease", "\nhang_up\n", "-m shard run"))


def test_only_hosts_that_need_it_get_pdsh_over_ssh() -> None:
    """Hosts of this machine start under `pdsh -R exec`, others under `-R ssh`; each kind only where there is one."""
    both = script_of(plan_of((LOCAL, *REMOTE)))
    assert re.findall(r"pdsh -b -S -f (\d+) -R (\w+) \\\n    -w (\S+)", both) == [
        ("2", "ssh", "alpha,bob@beta.lan"),
        ("1", "exec", "localhost"),
    ]
    assert "-R ssh" not in script_of(plan_of((LOCAL,)))
    assert "-R exec" not in script_of(plan_of(REMOTE))


def test_lease_is_kept_only_where_it_counts() -> None:
    """A lease needs a host reached over ssh; one that goes on without us goes by it, too, when it has nothing left."""
    assert "deaf lease" in script_of(plan_of(REMOTE, options=Options(lease_seconds=60.0)))
    assert "deaf lease" not in script_of(plan_of((LOCAL,), options=Options(lease_seconds=60.0)))
    assert "deaf lease" not in script_of(plan_of(REMOTE, options=Options(lease_seconds=None)))
    loose = Options(lease_seconds=60.0, on_disconnect="continue")
    assert "deaf lease" in script_of(plan_of(REMOTE, options=loose))


def test_token_is_not_in_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script holds no secret: it may be copied, mailed and committed."""
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    assert "hf_secret" not in script_of(plan_of((LOCAL, *REMOTE)))


@given(HOSTILE, HOSTILE, HOSTILE_NAME, st.sampled_from([(LOCAL,), REMOTE, (LOCAL, *REMOTE)]))
@settings(max_examples=60, deadline=None)
def test_every_script_is_bash(dataset: str, directory: str, python: str, hosts: tuple[Host, ...]) -> None:
    """Whatever names go into it, the text is a script that bash can parse."""
    policy = Policy(detached=len(dataset) % 2 == 0)
    plan = plan_of(hosts, name=dataset, output_dir=directory, remote_python=python, local_python=python, policy=policy)
    script = script_of(plan, Path("/runs", directory.replace("/", "")), python)
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
@pytest.mark.parametrize("hosts", [(LOCAL,), REMOTE, (LOCAL, *REMOTE)], ids=["local", "remote", "both"])
@pytest.mark.parametrize("policy", [Policy(), DETACHED], ids=["attached", "detached"])
def test_shellcheck_has_nothing_to_say(hosts: tuple[Host, ...], policy: Policy) -> None:
    """shellcheck finds no warning in a generated script."""
    script = script_of(plan_of(hosts, policy=policy))
    checked = subprocess.run(["shellcheck", "--severity=warning", "-"], input=script, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


_HOSTILE_RUNS = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@PDSH
@given(dataset=HOSTILE, output=HOSTILE, here=HOSTILE_NAME, there=HOSTILE_NAME, home=st.booleans())
@example(dataset="a\n$(touch pwned)", output="`touch pwned`", here="it's %h", there="$(touch pwned) %h 100%", home=True)
@example(dataset="'", output='"', here="a b", there="-- '; touch pwned; ' %%", home=False)
@_HOSTILE_RUNS
def test_names_reach_ssh_and_hosts_as_they_are(dataset: str, output: str, here: str, there: str, home: bool) -> None:
    """Over ssh: run directory, interpreters and host names arrive exactly, and nothing in any name is executed."""
    with TemporaryDirectory() as directory:
        stage = Stage(Path(directory))
        run_dir = stage.root / "runs" / here
        run_dir.mkdir(parents=True)
        python = stage.program(stage.root / "here" / here / "python", _INTERPRETER)
        remote = stage.program((stage.home if home else stage.root / "there") / there / "python", _INTERPRETER)
        asked = f"~/{there}/python" if home else str(remote)
        plan = plan_of(REMOTE, name=dataset, output_dir=output, remote_python=asked)
        done = stage.run(script_of(plan, run_dir, str(python)))
        assert (done.returncode, done.stderr) == (0, "")
        job = f"{stage.home}/.shardfleet/runs/{plan.run_id}"
        supervisors = [[str(remote), "-m", "shard", "run", "--job", f"{job}/{host}"] for host in ("alpha", "beta.lan")]
        assert stage.calls("called") == sorted([*steps_of(str(run_dir), python), *supervisors])
        assert [call[call.index("-F") + 1] for call in stage.calls("ssh")] == ["ssh_config"] * 2
        assert [(call[-2], "-lbob" in call) for call in stage.calls("ssh")] == [("beta.lan", True), ("alpha", False)]
        assert stage.pwned() == []


@PDSH
@given(here=HOSTILE_NAME)
@example(here="$(touch pwned) %h 100% 'a' \"b\"")
@_HOSTILE_RUNS
def test_names_reach_this_machine_as_they_are(here: str) -> None:
    """Under `pdsh -R exec`: the running interpreter, wherever it lies, gets exactly its arguments."""
    check_local_run(here, path=None)


@given(here=HOSTILE_NAME)
@example(here="$(touch pwned) %h 100% 'a' \"b\" &")
@_HOSTILE_RUNS
def test_names_reach_this_machine_without_pdsh(here: str) -> None:
    """Where pdsh is not installed the script says so, and the workers get the same arguments."""
    check_local_run(here, path=_TOOLS)


def check_local_run(here: str, *, path: tuple[str, ...] | None) -> None:
    with TemporaryDirectory() as directory:
        stage = Stage(Path(directory))
        run_dir = stage.root / "runs" / here
        run_dir.mkdir(parents=True)
        python = stage.program(stage.root / "here" / here / "python", _INTERPRETER)
        plan = plan_of((LOCAL,), local_python=str(python))
        done = stage.run(script_of(plan, run_dir, str(python)), path=only(stage, path) if path else None)
        without = "pdsh is not installed: starting the workers of this machine without it\n"
        assert (done.returncode, done.stderr) == (0, without if path else "")
        job = f"{stage.home}/.shardfleet/runs/{plan.run_id}/localhost"
        supervisor = [str(python), "-m", "shard", "run", "--job", job]
        assert stage.calls("called") == sorted([*steps_of(str(run_dir), python), supervisor])
        assert stage.pwned() == []


def only(stage: Stage, names: tuple[str, ...]) -> str:
    """A PATH with these tools and no other."""
    directory = stage.root / "tools"
    directory.mkdir()
    for name in names:
        if (found := shutil.which(name)) is not None:
            (directory / name).symlink_to(found)
    return str(directory)


def test_remote_hosts_need_pdsh(stage: Stage) -> None:
    """Where pdsh is not installed and a host is elsewhere, nothing is started, and the message says what to install."""
    python = stage.program(stage.root / "python", _INTERPRETER)
    done = stage.run(script_of(plan_of(REMOTE), stage.root, str(python)), path=only(stage, _TOOLS))
    assert done.returncode == 2
    assert "apt install pdsh" in done.stderr
    assert stage.calls("called") == []


def test_run_directory_that_is_gone(stage: Stage) -> None:
    """A script whose run directory was removed exits 2 and starts nothing."""
    python = stage.program(stage.root / "python", _INTERPRETER)
    done = stage.run(script_of(plan_of((LOCAL,)), stage.root / "gone", str(python)))
    assert done.returncode == 2
    assert "gone" in done.stderr
    assert stage.calls("called") == []


def test_failed_push_is_the_end(stage: Stage) -> None:
    """When a host could not be sent its job, no worker is started, and the exit code is that of the push."""
    python = stage.program(stage.root / "python", _INTERPRETER)
    done = stage.run(script_of(plan_of((LOCAL,)), stage.root, str(python)), PUSH="1")
    assert done.returncode == 1
    assert stage.calls("called") == [[str(python), "-m", "provision.control", "push", "."]]


@pytest.mark.parametrize("code", [0, 1, 3, 130])
def test_settle_has_the_last_word(stage: Stage, code: int) -> None:
    """The exit code is the one that settle gives after it has asked the hosts; display options reach both displays."""
    python = stage.program(stage.root / "python", _INTERPRETER)
    plan = plan_of((LOCAL,), local_python=str(python))
    done = stage.run(script_of(plan, stage.root, str(python)), "--json", SETTLE=str(code))
    assert done.returncode == code
    calls = [call for call in stage.calls("called") if "shard" not in call]
    assert calls == steps_of(str(stage.root), python, "--json")


@PDSH
@pytest.mark.parametrize("code", [0, 1])
def test_detached_script_ends_with_the_start(stage: Stage, code: int) -> None:
    """The exit code says whether every host was started; hosts that were are not asked what is left."""
    python = stage.program(stage.root / "python", _INTERPRETER)
    plan = plan_of((LOCAL, *REMOTE), local_python=str(python), remote_python=str(python), policy=DETACHED)
    done = stage.run(script_of(plan, stage.root, str(python)), "--json", STARTED=str(code))
    assert (done.returncode, done.stderr) == (code, "")
    job = f"{stage.home}/.shardfleet/runs/{plan.run_id}"
    control = [str(python), "-m", "provision.control"]
    started = [[str(python), "-m", "shard", "start", "--job", f"{job}/{host.name}"] for host in (LOCAL, *REMOTE)]
    told = [[*control, "push", "."], [*control, "started", ".", "--json"]]
    assert stage.calls("called") == sorted([*told, *started])


@pytest.mark.parametrize("arguments", [["--help"], ["--jsn"], ["--plain", "--json"], ["x; touch pwned"]])
def test_other_arguments_start_nothing(stage: Stage, arguments: list[str]) -> None:
    """A word that the script does not know gets its usage and exit code 2; no host hears of it."""
    python = stage.program(stage.root / "python", _INTERPRETER)
    done = stage.run(script_of(plan_of((LOCAL,)), stage.root, str(python)), *arguments)
    assert (done.returncode, done.stderr.startswith("usage: ")) == (2, True)
    assert stage.calls("called") == []
    assert stage.pwned() == []
