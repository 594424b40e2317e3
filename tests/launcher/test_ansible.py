"""The playbooks, run for real on this machine: connection local, with a home of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import pytest

from provision.install.ownwheel import pack
from tests.support.hub import running_hub

ROOT = Path(__file__).parents[2]
ANSIBLE = ROOT / "ansible"
PLAYBOOKS = ["site.yml", "verify.yml", "uninstall.yml"]
# A venv's scripts are found here whether or not it is activated.
BIN = Path(sys.executable).parent


def run(*command: str | Path, home: Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command that finds Ansible on PATH and keeps its scratch files under `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    env = kept | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
        # Ansible refuses to start in a locale that is not UTF-8.
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
    }
    return subprocess.run(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)


@dataclass(frozen=True)
class Host:
    """This machine as the only host of an inventory."""

    scratch: Path

    @property
    def home(self) -> Path:
        """What the role calls shardfleet_home."""
        return self.scratch / "home of shardfleet"

    def play(self, playbook: str, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook here; `variables` are its extra variables."""
        given = {
            "ansible_python_interpreter": sys.executable,
            "shardfleet_home": str(self.home),
            **variables,
        }
        command = [BIN / "ansible-playbook", "-i", "localhost,", "-c", "local", "-e", json.dumps(given)]
        return run(*command, *args, ANSIBLE / playbook, home=self.scratch)

    def install(self, wheelhouse: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run site.yml with the Python that the wheelhouse was made with."""
        wheels = {"shardfleet_wheelhouse": str(wheelhouse), "shardfleet_python": sys.executable}
        return self.play("site.yml", *args, **{**wheels, "shardfleet_hub_endpoint": "", **variables})


def changed(done: subprocess.CompletedProcess[str]) -> int:
    """How many tasks a successful run reports as changed."""
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.findall(r"^localhost .*\bchanged=(\d+)", done.stdout, re.MULTILINE)
    assert len(counts) == 1, done.stdout
    return int(counts[0])


def tree(directory: Path) -> list[str]:
    """Every path below a directory, sorted."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel of the running shardfleet alone: enough for all that comes before pip."""
    directory = tmp_path_factory.mktemp("wheel house")
    pack(distribution("shardfleet"), directory)
    return directory


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_tree_is_what_the_wheel_ships() -> None:
    """No dotfile and no symlink: a wheel has no symlinks, and tools skip dotfiles."""
    odd = [path for path in ANSIBLE.rglob("*") if path.name.startswith(".") or path.is_symlink()]
    assert odd == []


def test_all_modules_are_builtin() -> None:
    """No collection has to be fetched before the playbooks can run."""
    text = "".join(path.read_text() for path in ANSIBLE.rglob("*.yml"))
    used = set(re.findall(r"^ +(\w+\.\w+)\.\w+:", text, re.MULTILINE))
    assert {"ansible.builtin"} == used


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_playbooks_parse(playbook: str, host: Host) -> None:
    """Each playbook and the role behind it pass Ansible's own syntax check, without any variable given."""
    done = run(BIN / "ansible-playbook", "-i", "localhost,", "--syntax-check", ANSIBLE / playbook, home=host.scratch)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not (BIN / "ansible-lint").exists(), reason="ansible-lint is not installed beside this Python")
def test_lint_finds_nothing(tmp_path: Path) -> None:
    """ansible-lint's strictest profile passes."""
    # A copy, because ansible-lint leaves a cache in the project; it lints only what lies below the directory.
    project = tmp_path / "project"
    shutil.copytree(ANSIBLE, project / "ansible")
    command = [BIN / "ansible-lint", "--offline", "--profile", "production", "--strict", "ansible"]
    done = run(*command, home=tmp_path, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed: 0 failure(s), 0 warning(s)" in done.stderr


def test_check_mode_on_a_fresh_host_succeeds_and_writes_nothing(host: Host, wheelhouse: Path) -> None:
    """Check mode announces the installation on a host that has nothing, and leaves it so."""
    assert changed(host.install(wheelhouse, "--check")) > 0
    assert not host.home.exists()


def test_verify_names_what_is_missing(host: Host) -> None:
    """On a host without an installation verify.yml fails and says what to do."""
    done = host.play("verify.yml")
    assert done.returncode == 2
    assert f"{host.home}/venv cannot be used; run site.yml" in done.stdout


def test_uninstall_leaves_what_was_not_installed(host: Host) -> None:
    """The link, the venvs and the wheels go; jobs stay; a second run finds nothing to do."""
    for directory in ("jobs/one", "versions/0.1.0/bin", "wheelhouse"):
        (host.home / directory).mkdir(parents=True)
    (host.home / "venv").symlink_to("versions/0.1.0")
    assert changed(host.play("uninstall.yml")) == 1
    assert tree(host.home) == ["jobs", "jobs/one"]
    assert changed(host.play("uninstall.yml")) == 0


@pytest.mark.parametrize("home", ["relative/path", "/", "//tmp", "/tmp/..", "~", "~/", "~/."])
def test_a_home_that_is_not_ours_alone_is_refused(home: str, host: Host) -> None:
    """Nothing is removed by plain names such as "versions" from a directory that may be anybody's."""
    done = host.play("uninstall.yml", "--check", shardfleet_home=home)
    assert done.returncode == 2
    assert f"shardfleet_home={home}: give a directory of its own" in done.stdout


def test_a_missing_interpreter_is_named(host: Host, wheelhouse: Path) -> None:
    """The failure names the interpreter that was asked for and the variable to set."""
    done = host.play("site.yml", shardfleet_wheelhouse=str(wheelhouse), shardfleet_python="python3.999")
    assert done.returncode == 2
    assert "shardfleet_python=python3.999: not found; install Python 3.11 or later" in done.stdout


# Preflight: each of these ends before anything is written.


def refused(done: subprocess.CompletedProcess[str], host: Host) -> str:
    """What a failed run printed, its lines joined; nothing has been installed."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert not host.home.exists()
    return re.sub(r"\s+", " ", done.stdout)


def test_a_full_disk_is_refused(host: Host, wheelhouse: Path) -> None:
    """Less free space than asked for ends it, naming both, and where."""
    said = refused(host.install(wheelhouse, shardfleet_min_free_mb="999999999"), host)
    assert re.search(r"\d+ MB are free for .*, 999999999 MB are needed", said)


def test_a_wrong_clock_is_refused(host: Host, wheelhouse: Path) -> None:
    """The difference to the controller's clock is measured, and refused over the limit; here nothing is below it."""
    said = refused(host.install(wheelhouse, shardfleet_clock_limit="-1"), host)
    assert re.search(r"clock is off by -?0 s.* shardfleet_clock_limit", said)


@pytest.mark.parametrize("seconds", [-100.0, 100.0])
def test_the_clock_is_measured_against_the_controllers(seconds: float, tmp_path: Path) -> None:
    """What the host reports is how far its clock is ahead of the one it is told of."""
    script = ANSIBLE / "roles/shardfleet/files/probe.py"
    command = [sys.executable, "-I", script, tmp_path / "not/there/yet", "", str(time.time() - seconds)]
    seen = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert seen["ahead"] == pytest.approx(seconds, abs=10)
    assert seen["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"


def test_a_silent_hub_is_reported(host: Host, wheelhouse: Path) -> None:
    """A Hub that does not answer is told in a line, and fails the host only where that was asked for."""
    nobody = "http://127.0.0.1:9"
    done = host.install(wheelhouse, "--check", shardfleet_hub_endpoint=nobody)
    assert changed(done) > 0
    assert f"{nobody} does not answer: [Errno 111] Connection refused" in re.sub(r"\s+", " ", done.stdout)
    done = host.install(wheelhouse, shardfleet_hub_endpoint=nobody, shardfleet_hub_required="true")
    assert f"{nobody} does not answer this host" in refused(done, host)


def test_a_hub_that_answers_is_reported(host: Host, wheelhouse: Path, tmp_path: Path) -> None:
    """Any answer will do, a refusal too: whether the token is good is not asked here."""
    with running_hub(tmp_path) as hub:
        done = host.install(wheelhouse, "--check", shardfleet_hub_endpoint=hub.endpoint, shardfleet_hub_required="true")
    assert changed(done) > 0
    assert f"{hub.endpoint} answers" in re.sub(r"\s+", " ", done.stdout)


def describe(directory: str | Path, cwd: Path) -> dict[str, object]:
    """What the controller finds out about a wheelhouse."""
    script = ANSIBLE / "roles/shardfleet/files/wheelhouse.py"
    done = subprocess.run(
        [sys.executable, "-I", script, "describe", directory], cwd=cwd, check=True, capture_output=True
    )
    described: dict[str, object] = json.loads(done.stdout)
    return described


OURS = "shardfleet-0.1.0-py3-none-any.whl"
NUMPY = "numpy-2.4.6-{0}-{0}-manylinux_2_28_x86_64.whl"
XXHASH = "xxhash-4.1.0-{0}-{0}-manylinux_2_28_x86_64.whl"


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([], "holds 0 wheels of shardfleet"),
        ([OURS, OURS.replace("0.1.0", "0.2.0")], "holds 2 wheels of shardfleet ['0.1.0', '0.2.0']"),
        ([OURS, "regex-1.0.tar.gz"], "regex-1.0.tar.gz: a wheelhouse holds wheels only"),
        ([OURS, "notes.whl"], "notes.whl: a wheelhouse holds wheels only"),
    ],
)
def test_a_wheelhouse_that_cannot_be_installed_is_refused(names: list[str], problem: str, tmp_path: Path) -> None:
    """What pip would stumble over on every host is refused once, on the controller."""
    for name in names:
        (tmp_path / name).touch()
    assert problem in str(describe(tmp_path, tmp_path)["problem"])


def test_a_wheelhouse_is_named_by_its_absolute_path(tmp_path: Path) -> None:
    """A relative path would mean one directory to the shell and another to Ansible."""
    assert "give an absolute path" in str(describe("wheelhouse", tmp_path)["problem"])
    assert "no such directory" in str(describe(tmp_path / "wheelhouse", tmp_path)["problem"])


@pytest.mark.parametrize(
    ("names", "pythons"),
    [
        ([], None),
        (["tokenizers-0.23.3-cp310-abi3-manylinux_2_17_x86_64.whl"], None),
        ([NUMPY.format("cp311")], ["cp311"]),
        ([NUMPY.format("cp311"), NUMPY.format("cp312"), XXHASH.format("cp312")], ["cp312"]),
        ([NUMPY.format("cp311"), XXHASH.format("cp312")], []),
    ],
)
def test_the_pythons_of_a_wheelhouse(names: list[str], pythons: list[str] | None, tmp_path: Path) -> None:
    """A wheelhouse fits the Python versions that every version-bound package in it has a wheel for."""
    for name in [OURS, *names]:
        (tmp_path / name).touch()
    assert pythons == describe(tmp_path, tmp_path)["pythons"]


def test_the_digest_covers_names_and_contents(tmp_path: Path) -> None:
    """Any other set of wheels has another digest; the same set has the same."""
    (tmp_path / OURS).write_bytes(b"one")
    first = describe(tmp_path, tmp_path)["sha256"]
    assert first == describe(tmp_path, tmp_path)["sha256"]
    (tmp_path / OURS).write_bytes(b"two")
    second = describe(tmp_path, tmp_path)["sha256"]
    (tmp_path / OURS).rename(tmp_path / OURS.replace("0.1.0", "0.2.0"))
    assert len({first, second, describe(tmp_path, tmp_path)["sha256"]}) == 3
