"""The playbooks, run for real on this machine: connection local, with a home of their own."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

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

    def install(self, wheelhouse: Path, *args: str) -> subprocess.CompletedProcess[str]:
        """Run site.yml with the Python that the wheelhouse was made with."""
        wheels = {"shardfleet_wheelhouse": str(wheelhouse), "shardfleet_python": sys.executable}
        return self.play("site.yml", *args, **wheels)

    def imports(self) -> str:
        """The version that the interpreter in use imports."""
        code = "import provision, shard; print(provision.__version__)"
        done = subprocess.run([self.home / "venv/bin/python", "-I", "-c", code], capture_output=True, text=True)
        return done.stdout.strip() or done.stderr


def changed(done: subprocess.CompletedProcess[str]) -> int:
    """How many tasks a successful run reports as changed."""
    assert done.returncode == 0, done.stdout + done.stderr
    counts = re.findall(r"^localhost .*\bchanged=(\d+)", done.stdout, re.MULTILINE)
    assert len(counts) == 1, done.stdout
    return int(counts[0])


def tree(directory: Path) -> list[str]:
    """Every path below a directory, sorted."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def pip_wheel(source: Path, into: Path, *args: str) -> Path:
    """Build wheels of `source`, or skip where that takes an index that cannot be reached."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("this Python has no pip to build wheels with")
    if importlib.util.find_spec("hatchling"):
        args = (*args, "--no-build-isolation")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--retries", "1", "-w", into, source, *args]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and re.search(r"Retrying \(|ConnectionError|Connection to \S+ timed out", done.stderr):
        pytest.skip(f"the package index cannot be reached: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return into


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


def test_check_mode_on_a_fresh_host_succeeds_and_writes_nothing(host: Host) -> None:
    """Check mode announces the installation on a host that has nothing, and leaves it so."""
    wheelhouse = pip_wheel(ROOT, host.scratch / "wheel house", "--no-deps")
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


@pytest.mark.parametrize("home", ["relative/path", "/", "//tmp", "/tmp/.."])
def test_a_home_that_is_not_ours_alone_is_refused(home: str, host: Host) -> None:
    """Nothing is removed by plain names such as "versions" from a directory that may be anybody's."""
    done = host.play("uninstall.yml", "--check", shardfleet_home=home)
    assert done.returncode == 2
    assert f"shardfleet_home={home}: give an absolute path of a directory of its own" in done.stdout


def test_a_missing_interpreter_is_named(host: Host) -> None:
    """The failure names the interpreter that was asked for and the variable to set."""
    wheelhouse = pip_wheel(ROOT, host.scratch / "wheel house", "--no-deps")
    done = host.play("site.yml", shardfleet_wheelhouse=str(wheelhouse), shardfleet_python="python3.999")
    assert done.returncode == 2
    assert "shardfleet_python=python3.999: not found; install Python 3.11 or later" in done.stdout


def describe(directory: str | Path, cwd: Path) -> dict[str, object]:
    """What the controller finds out about a wheelhouse."""
    script = ANSIBLE / "roles/shardfleet/files/wheelhouse.py"
    done = subprocess.run([sys.executable, "-I", script, directory], cwd=cwd, check=True, capture_output=True)
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


@dataclass(frozen=True)
class Installed:
    """A host on which site.yml ran once."""

    host: Host
    wheelhouse: Path
    first: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    scratch = tmp_path_factory.mktemp("ansible")
    host = Host(scratch)
    wheelhouse = pip_wheel(ROOT, scratch / "wheel house")
    yield Installed(host, wheelhouse, host.install(wheelhouse))
    # Half a gigabyte a version, which pytest would keep for three sessions.
    shutil.rmtree(scratch)


@pytest.mark.slow
def test_the_first_run_installs_from_the_wheels(installed: Installed) -> None:
    """The link leads to a venv named by its version, from which the package can be imported."""
    assert changed(installed.first) > 0
    home = installed.host.home
    version = str(describe(installed.wheelhouse, home)["version"])
    assert f"versions/{version}" == os.readlink(home / "venv")
    assert version == installed.host.imports()
    assert tree(installed.wheelhouse) == tree(home / "wheelhouse")


@pytest.mark.slow
def test_later_runs_change_nothing(installed: Installed) -> None:
    """A second run, its check mode and verify.yml all report changed=0."""
    assert changed(installed.host.install(installed.wheelhouse)) == 0
    assert changed(installed.host.install(installed.wheelhouse, "--check")) == 0
    assert changed(installed.host.play("verify.yml", shardfleet_version=installed.host.imports())) == 0


@pytest.mark.slow
def test_verify_refuses_another_version(installed: Installed) -> None:
    """verify.yml fails where the host has another version than the one asked for."""
    done = installed.host.play("verify.yml", shardfleet_version="999.0")
    assert done.returncode == 2
    assert f"imports shardfleet {installed.host.imports()}, but 999.0 was expected" in done.stdout


@pytest.mark.slow
def test_a_venv_that_lost_its_interpreter_is_rebuilt(installed: Installed) -> None:
    """An installation that cannot run counts as none, whatever its marker says."""
    host, version = installed.host, installed.host.imports()
    (host.home / "venv/bin/python").unlink()
    assert changed(host.install(installed.wheelhouse)) > 0
    assert version == host.imports()


@pytest.mark.slow
def test_versions_are_kept_beside_each_other(installed: Installed, tmp_path: Path) -> None:
    """Another version gets a venv of its own; going back to the first changes the link and nothing else."""
    host, version = installed.host, installed.host.imports()
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=lambda _, names: {name for name in names if name.startswith(".")})
    pyproject = (source / "pyproject.toml").read_text()
    (source / "pyproject.toml").write_text(pyproject.replace(f'version = "{version}"', 'version = "999.0"', 1))
    newer = pip_wheel(source, tmp_path / "newer", "--no-deps")
    for wheel in installed.wheelhouse.iterdir():
        if not wheel.name.startswith("shardfleet-"):
            os.link(wheel, newer / wheel.name)

    assert changed(host.install(newer)) > 0
    assert host.imports() == "999.0"
    assert tree(newer) == tree(host.home / "wheelhouse")
    assert ["999.0", version] == sorted((path.name for path in (host.home / "versions").iterdir()), reverse=True)

    assert changed(host.install(installed.wheelhouse)) == 1
    assert version == host.imports()
