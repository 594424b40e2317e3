"""shardfleet provision on two hosts with empty homes, from the first run to the uninstallation, in this order."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path

import pytest

from provision.errors import InputError
from provision.install.ownwheel import pack
from provision.install.rollout import Rollout
from tests.support.sshd import LoopbackHosts, loopback_hosts

ROOT = Path(__file__).parents[2]
VERSION = distribution("shardfleet").version
SECONDS = 600.0


@dataclass
class Cluster:
    """Hosts alpha and beta, and a launcher that runs from a checkout of its own."""

    directory: Path
    loopback: LoopbackHosts
    first: "subprocess.CompletedProcess[str] | None" = field(default=None)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        cache = subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True)
        return kept | {
            # A copy, since the one the tests run from may change meanwhile.
            "PYTHONPATH": str(self.directory / "checkout"),
            "XDG_CACHE_HOME": str(self.directory / "cache"),
            "PIP_CACHE_DIR": cache.stdout.strip(),
            # Nobody listens there: the report of it is quick.
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "NO_COLOR": "1",
        }

    def argv(self, *args: str, hosts: str = "hosts.txt") -> list[str]:
        argv = [sys.executable, "-P", "-m", "provision", "provision", "--hosts", str(self.directory / hosts)]
        return [*argv, "--ssh-config", str(self.loopback.config), "--python", sys.executable, *args]

    def provision(self, *args: str, hosts: str = "hosts.txt") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.argv(*args, hosts=hosts),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def home(self, host: str) -> Path:
        """Where it is installed."""
        return self.loopback.hosts[host].home / ".shardfleet"

    @property
    def wheelhouse(self) -> Path:
        """What was pushed to alpha: the wheels of one run, as files."""
        return self.home("alpha") / "wheelhouse"

    def imports(self, host: str) -> str:
        """The version that the interpreter in use there imports."""
        code = "import provision, shard; print(provision.__version__)"
        argv = [self.home(host) / "venv/bin/python", "-I", "-c", code]
        done = subprocess.run(argv, capture_output=True, text=True)
        return done.stdout.strip() or done.stderr


def changes(done: "subprocess.CompletedProcess[str]") -> dict[str, int]:
    """Changed tasks by host, as the recap of a successful run has them."""
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0", done.stdout, re.MULTILINE)
    return {host: int(count) for host, count in found}


NOTHING = {"alpha": 0, "beta": 0}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("provision")
    for package in ("provision", "shard", "ansible"):
        shutil.copytree(ROOT / package, directory / "checkout" / package)
    with loopback_hosts(directory / "ssh", ["alpha", "beta"]) as running:
        (directory / "hosts.txt").write_text("alpha 2\nbeta 2 output_dir='/{{ 1/0 }}'\nlocalhost 1\n")
        (directory / "alpha.txt").write_text("alpha 2\n")
        yield Cluster(directory, running)
    # Half a gigabyte a version, which pytest would keep for three sessions.
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def cluster(fresh: Cluster) -> Cluster:
    """The same, after a first run."""
    fresh.first = fresh.provision()
    if "pip could not collect the wheels" in fresh.first.stderr:
        pytest.skip(f"the package index cannot be reached: {fresh.first.stderr}")
    return fresh


@pytest.mark.ssh
def test_check_mode_on_fresh_hosts_changes_nothing(fresh: Cluster) -> None:
    """Check mode announces what would be done to each host, exits 0, and leaves both homes without a file."""
    done = fresh.provision("--check")
    if "pip could not collect the wheels" in done.stderr:
        pytest.skip(f"the package index cannot be reached: {done.stderr}")
    assert set(changes(done)) == {"alpha", "beta"}
    assert min(changes(done).values()) > 0
    assert "changed: alpha, beta" in done.stderr
    # Ansible itself leaves a directory for its scratch files.
    left = [path for host in fresh.loopback.hosts.values() for path in host.home.rglob("*") if path.is_file()]
    assert left == []
    assert not fresh.home("alpha").exists()


@pytest.mark.ssh
@pytest.mark.slow
def test_the_first_run_installs_and_tries_it(cluster: Cluster) -> None:
    """On hosts with empty homes: exit 0, a venv named by its version, and a shard was written there and removed."""
    assert cluster.first is not None
    assert min(changes(cluster.first).values()) > 0
    said = re.sub(r"\s+", " ", cluster.first.stdout)
    assert said.count(f"shardfleet {VERSION}: wrote, verified and removed a shard of") == 2
    assert "localhost: is this machine" in cluster.first.stderr
    for host in ("alpha", "beta"):
        assert f"versions/{VERSION}" == os.readlink(cluster.home(host) / "venv")
        assert cluster.imports(host) == VERSION
        assert {"venv", "versions", "wheelhouse"} == {path.name for path in cluster.home(host).iterdir()}


@pytest.mark.ssh
@pytest.mark.slow
def test_a_host_could_provision_others_with_the_same(cluster: Cluster, tmp_path: Path) -> None:
    """What was installed from a wheel packs that very wheel again, and finds the playbooks in itself."""
    code = (
        "import sys; from importlib.metadata import distribution; from pathlib import Path\n"
        "from provision.install.ownwheel import pack, playbooks\n"
        "print(pack(distribution('shardfleet'), Path(sys.argv[1])), playbooks(), sep='\\n')"
    )
    argv = [cluster.home("alpha") / "venv/bin/python", "-I", "-c", code, tmp_path]
    packed, found = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    (pushed,) = cluster.wheelhouse.glob("shardfleet-*")
    assert pushed.read_bytes() == Path(packed).read_bytes()
    assert Path(found).name == "_ansible"
    assert (Path(found) / "site.yml").is_file()


@pytest.mark.ssh
@pytest.mark.slow
def test_later_runs_change_nothing(cluster: Cluster) -> None:
    """A second run, its check mode and --verify all report changed=0; the wheels are not collected again."""
    again = cluster.provision()
    assert changes(again) == NOTHING
    assert "changed: nothing" in again.stderr
    assert "collecting the wheels" not in again.stderr
    assert changes(cluster.provision("--check")) == NOTHING
    assert changes(cluster.provision("--verify")) == NOTHING


@pytest.mark.ssh
@pytest.mark.slow
def test_the_smoke_test_finds_a_broken_venv_and_a_run_mends_it(cluster: Cluster) -> None:
    """What cannot write a shard fails --verify, by host; what lost its interpreter is installed anew, only there."""
    (extension,) = cluster.home("beta").glob("venv/lib/python*/site-packages/gigatoken/*.so")
    extension.rename(extension.with_suffix(".gone"))
    done = cluster.provision("--verify")
    assert done.returncode == 1
    assert done.stderr.endswith("shardfleet: failed on 1 of 2 hosts: beta\n")
    assert "/venv cannot be used; run site.yml" in re.sub(r"\s+", " ", done.stdout)
    assert not list(cluster.home("beta").glob(".smoke-test-*"))

    (cluster.home("beta") / "venv/bin/python").unlink()
    shutil.rmtree(cluster.home("beta") / "wheelhouse")
    mended = changes(cluster.provision())
    assert (mended["alpha"], mended["beta"] > 0) == (0, True)
    assert cluster.imports("beta") == VERSION


def another_version(cluster: Cluster, into: Path) -> Path:
    """A wheelhouse like the one in use, its shardfleet being version 999.0."""
    into.mkdir()
    for wheel in cluster.wheelhouse.iterdir():
        if not wheel.name.startswith("shardfleet-"):
            os.link(wheel, into / wheel.name)
    (ours,) = cluster.wheelhouse.glob("shardfleet-*")
    old, new = f"shardfleet-{VERSION}.dist-info/", "shardfleet-999.0.dist-info/"
    with zipfile.ZipFile(ours) as source, zipfile.ZipFile(into / ours.name.replace(VERSION, "999.0"), "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == f"{old}METADATA":
                data = data.replace(f"\nVersion: {VERSION}\n".encode(), b"\nVersion: 999.0\n", 1)
            if name == f"{old}RECORD":
                data = b"".join(f"{it.replace(old, new)},,\n".encode() for it in source.namelist())
            target.writestr(name.replace(old, new), data)
    return into


@pytest.mark.ssh
@pytest.mark.slow
def test_versions_are_kept_beside_each_other(cluster: Cluster, tmp_path: Path) -> None:
    """Another version gets a venv of its own, and only what changed travels; going back changes the link alone."""
    newer = another_version(cluster, tmp_path / "newer")
    kept = {path.name: path.stat().st_mtime_ns for path in cluster.wheelhouse.glob("numpy-*")}
    assert changes(cluster.provision("--wheelhouse", str(newer), hosts="alpha.txt"))["alpha"] > 0
    assert cluster.imports("alpha") == "999.0"
    assert {path.name for path in newer.iterdir()} == {path.name for path in cluster.wheelhouse.iterdir()}
    assert kept == {path.name: path.stat().st_mtime_ns for path in cluster.wheelhouse.glob("numpy-*")}
    assert sorted(os.listdir(cluster.home("alpha") / "versions"), reverse=True) == ["999.0", VERSION]

    # Ours is what is asked for, and the other is what is there.
    done = cluster.provision("--verify", hosts="alpha.txt")
    assert done.returncode == 1
    assert f"imports shardfleet 999.0, but {VERSION} was expected" in re.sub(r"\s+", " ", done.stdout)
    assert changes(cluster.provision(hosts="alpha.txt")) == {"alpha": 1}
    assert cluster.imports("alpha") == VERSION


@pytest.mark.ssh
@pytest.mark.slow
def test_a_host_that_cannot_be_reached_is_named_and_the_others_are_served(cluster: Cluster) -> None:
    """One host down: exit code 1 and its name with the reason; the other one is looked after all the same."""
    config = cluster.directory / "half.config"
    port = cluster.loopback.hosts["beta"].port
    config.write_text(cluster.loopback.config.read_text().replace(f"Port {port}\n", "Port 9\n"))
    done = cluster.provision("--verify", "--ssh-config", str(config))
    assert done.returncode == 1
    assert "beta: cannot connect to 127.0.0.1 port 9: Connection refused" in done.stderr
    assert done.stderr.endswith("failed on 1 of 2 hosts: beta\n")
    assert re.search(r"^alpha +: ok=\d+ +changed=0 +unreachable=0 +failed=0", done.stdout, re.MULTILINE)


@pytest.mark.ssh
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_ansible_with_it(cluster: Cluster, number: signal.Signals) -> None:
    """Ctrl+C, SIGTERM and SIGHUP end the command with 130; nothing of Ansible outlives it."""
    process = subprocess.Popen(
        cluster.argv("--verify"),
        env=cluster.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Whoever started the tests in the background had SIGINT ignored from there on.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "TASK [" in line:
            break
    process.send_signal(number)
    process.stdout.read()
    assert process.wait(SECONDS) == 130
    deadline = time.monotonic() + 10
    while (left := ansible_of(cluster)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def ansible_of(cluster: Cluster) -> list[bytes]:
    """Command lines of living processes of Ansible that this cluster's launchers have started, workers too."""
    mark = f"XDG_CACHE_HOME={cluster.environment['XDG_CACHE_HOME']}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # A connection that ssh keeps for the next task ends by itself, and is no process of Ansible's.
            line = (process / "cmdline").read_bytes()
            if b"\0ansible\0" in line and mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(line)
    return found


@pytest.mark.ssh
@pytest.mark.slow
def test_uninstall_removes_it_and_nothing_else(cluster: Cluster) -> None:
    """The link, the venvs and the wheels go, on every host; jobs stay; a second run finds nothing to do."""
    (cluster.home("alpha") / "runs/one").mkdir(parents=True)
    assert min(changes(cluster.provision("--uninstall")).values()) > 0
    assert os.listdir(cluster.home("alpha")) == ["runs"]
    assert os.listdir(cluster.home("beta")) == []
    assert changes(cluster.provision("--uninstall")) == NOTHING


# Without hosts


def test_the_wheel_of_what_runs_is_the_same_every_time(tmp_path: Path) -> None:
    """The same code gives the same bytes; the wheel holds every module, the playbooks, and a record of all that."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    wheels = [pack(distribution("shardfleet"), tmp_path / name) for name in ("one", "two")]
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    with zipfile.ZipFile(wheels[0]) as wheel:
        names = set(wheel.namelist())
        record = wheel.read(f"shardfleet-{VERSION}.dist-info/RECORD").decode()
    assert {line.rsplit(",", 2)[0] for line in record.splitlines()} == names
    modules = {str(path.relative_to(ROOT)) for name in ("provision", "shard") for path in (ROOT / name).rglob("*.py")}
    assert modules <= names
    assert {"provision/_ansible/site.yml", "provision/py.typed", "shard/py.typed"} <= names
    assert not [name for name in names if "__pycache__" in name or "/." in name]


@pytest.mark.parametrize(
    "args",
    [
        ["--verify", "--uninstall"],
        ["--check", "--verify"],
        ["--install-key", "--check"],
        ["--home", "relative"],
        ["--home", "~/{{ lookup('pipe', 'touch /tmp/x') }}"],
        ["--python", "{% x %}"],
        ["--wheelhouse", "no such directory"],
        ["--hosts", "no such file"],
        ["--host-key-fingerprints", "no such file"],
        ["--ssh-config", "no such file"],
    ],
)
def test_what_cannot_be_used_is_refused(args: list[str], tmp_path: Path) -> None:
    """Options that contradict each other, or that Ansible would take for templates, end with 2 and one message."""
    with loopback_hosts(tmp_path / "ssh", ["alpha"]) as running:
        (tmp_path / "hosts.txt").write_text("alpha 1\n")
        done = subprocess.run(
            [sys.executable, "-m", "provision", "provision", "--ssh-config", str(running.config), *args],
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("shardfleet: ")


def test_only_this_machine_is_nothing_to_do(tmp_path: Path) -> None:
    """A hosts.txt that names this machine alone needs no installation: launch uses the shardfleet that runs here."""
    (tmp_path / "hosts.txt").write_text("localhost 2\n")
    argv = [sys.executable, "-m", "provision", "provision"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert "localhost: is this machine" in done.stderr


def test_a_home_under_a_tilde_is_taken() -> None:
    """`~/` is the host's home; `~bob` or a relative path would be somewhere else on each host."""
    assert Rollout(playbook="site.yml", home="~/elsewhere").home == "~/elsewhere"
    with pytest.raises(InputError, match="not a whole path"):
        Rollout(playbook="site.yml", home="~bob/x")
