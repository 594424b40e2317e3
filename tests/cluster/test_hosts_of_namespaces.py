"""The test hosts are what they claim to be: tests/support/netns*.py and scripts/test-cluster.sh."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from provision.hosts import Host as NamedHost
from provision.reach.ssh.channel import SshChannel
from tests.support.fleet import Fleet, count
from tests.support.netns import Cluster, base, clear_leftovers, clusters, running_cluster
from tests.support.netns_fleet import strike_launcher
from tests.support.netns_host import Host
from tests.support.netns_tools import UnavailableError, mounts_under, namespace, pids, wait_for

pytestmark = [pytest.mark.root, pytest.mark.ssh]

_REPOSITORY = Path(__file__).resolve().parents[2]


def ssh(
    cluster: Cluster, host: str, command: str, *options: str, data: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    """A command through OpenSSH, as a user would run it."""
    argv = ["ssh", *options, "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-F", str(cluster.ssh_config), host]
    return subprocess.run([*argv, command], input=data, capture_output=True, timeout=30)


def said(cluster: Cluster, host: str, command: str) -> str:
    """What a command prints that must succeed."""
    done = ssh(cluster, host, command)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@contextmanager
def at_work(cluster: Cluster, host: str, *argv: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A command on a host, through ssh, for the length of a block."""
    process = subprocess.Popen(
        ["ssh", "-F", str(cluster.ssh_config), host, *argv], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: running(cluster, host, *argv) or None, f"{argv} on {host}")
        yield process
    finally:
        process.kill()
        process.communicate()


def running(cluster: Cluster, host: str, *argv: str) -> list[int]:
    """Processes of a host with this very command line."""
    return [process.pid for process in cluster[host].processes() if process.argv == argv]


def test_a_host_sees_its_own_processes_alone(cluster: Cluster) -> None:
    """A process of h1 is listed on h1, and neither on h2 nor, seen from there, is anything of this machine."""
    listing = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    with at_work(cluster, "h1", "sleep", "4242"):
        assert "sleep 4242" in said(cluster, "h1", listing)
        on_h2 = said(cluster, "h2", listing)
        assert "sshd" in on_h2
        assert "sleep 4242" not in on_h2
        assert "pytest" not in on_h2


def test_a_host_knows_its_name_and_the_others(cluster: Cluster) -> None:
    """`hostname` is the host's own, and names lead to the addresses of the hosts, the launcher and the Hub."""
    for name in cluster.names:
        assert said(cluster, name, "hostname") == name
    assert said(cluster, "h3", "getent hosts h2").split() == [cluster["h2"].address, "h2"]
    assert said(cluster, "h3", "getent hosts hub").split() == [cluster.hub_address, "hub"]


def test_a_home_is_empty_and_its_hosts_alone(cluster: Cluster) -> None:
    """A home begins empty; shell, password database and SFTP agree where it is; no host sees that of another; the
    launcher's side sees each."""
    assert said(cluster, "h1", "ls -A ~") == ""
    home = said(cluster, "h1", "touch ~/of-h1 && echo ~")
    assert said(cluster, "h1", "env -u HOME getent passwd root").split(":")[5] == home
    assert said(cluster, "h1", "pwd") == home
    batch = ["sftp", "-q", "-b", "-", "-F", str(cluster.ssh_config), "h1"]
    asked = subprocess.run(batch, input="pwd\n", capture_output=True, text=True)
    assert asked.stdout.splitlines()[-1] == f"Remote working directory: {home}"
    assert said(cluster, "h2", "ls -A ~") == ""
    assert said(cluster, "h2", f"find {cluster.directory} -name of-h1") == ""
    assert (cluster["h1"].home / "of-h1").exists()
    assert list(cluster["h2"].home.iterdir()) == []


def test_keys_are_known_or_refused(cluster: Cluster, tmp_path: Path) -> None:
    """A host key that known_hosts does not have ends the connection, so does an identity that the host does not know;
    no two hosts have the same key."""
    keys = [(host.place / "host_key.pub").read_text().split()[1] for host in cluster.hosts.values()]
    assert len(set(keys)) == 3
    unknown = ssh(cluster, "h1", "true", "-o", f"UserKnownHostsFile={tmp_path}/none")
    assert unknown.returncode == 255
    assert b"Host key verification failed" in unknown.stderr
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    config = tmp_path / "config"
    config.write_text(cluster.ssh_config.read_text().replace(f"{cluster.directory}/id\n", f"{tmp_path}/other\n"))
    refused = subprocess.run(["ssh", "-o", "BatchMode=yes", "-F", config, "h1", "true"], capture_output=True)
    assert refused.returncode == 255
    assert b"Permission denied" in refused.stderr


def test_one_config_serves_pdsh_paramiko_and_ansible(cluster: Cluster) -> None:
    """pdsh, our channels and Ansible reach the hosts by name with the cluster's ssh_config."""
    arguments = {**os.environ, "PDSH_SSH_ARGS_APPEND": f"-F {cluster.ssh_config}"}
    pdsh = subprocess.run(
        ["pdsh", "-R", "ssh", "-w", "h[1-3]", "hostname"], env=arguments, stdin=subprocess.DEVNULL, capture_output=True
    )
    assert sorted(pdsh.stdout.decode().splitlines()) == ["h1: h1", "h2: h2", "h3: h3"]
    with SshChannel(NamedHost(name="h2", ranks=1), cluster.ssh_config) as channel:
        assert channel.run(["hostname"], timeout=20).stdout == b"h2\n"
    ansible = subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "adhoc", "-i", "h3,", "all", "-m", "ansible.builtin.raw"),
            *("-a", "hostname", "--ssh-common-args", f"-F {cluster.ssh_config}"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert ansible.returncode == 0, ansible.stdout + ansible.stderr
    assert "h3" in ansible.stdout.splitlines()


def test_a_pulled_cable_cuts_one_host_off(cluster: Cluster) -> None:
    """With h2's cable out it answers nobody and reaches nobody, h1 still reaches launcher and Hub; plugged in again it
    answers, and what ran on it has gone on."""
    with at_work(cluster, "h2", "sleep", "4243"):
        cluster["h2"].link(up=False)
        assert ssh(cluster, "h2", "true", "-o", "ConnectTimeout=1").returncode == 255
        assert not reaches(cluster, "h2", cluster.hub_address)
        assert reaches(cluster, "h1", cluster.hub_address)
        assert said(cluster, "h1", "hostname") == "h1"
        assert running(cluster, "h2", "sleep", "4243")
        cluster["h2"].link(up=True)
        assert said(cluster, "h2", "hostname") == "h2"
        assert running(cluster, "h2", "sleep", "4243")


def reaches(cluster: Cluster, host: str, address: str) -> bool:
    """Whether a host gets an answer, a refusal will do, from an address."""
    program = (
        "import errno, socket, sys\n"
        "with socket.socket() as s:\n"
        "    s.settimeout(1)\n"
        "    sys.exit(s.connect_ex((sys.argv[1], 9)) not in (0, errno.ECONNREFUSED))\n"
    )
    return cluster[host].run(sys.executable, "-c", program, address).returncode == 0


def test_a_rate_limit_holds_in_both_directions(cluster: Cluster) -> None:
    """2.5 MB at 16 Mbit/s take more than a second to the host and from it; beside it and afterwards, less."""
    data = b"x" * 2_500_000

    def to(host: str) -> float:
        return seconds(lambda: ssh(cluster, host, "cat >/dev/null", data=data))

    def back(host: str) -> float:
        return seconds(lambda: ssh(cluster, host, f"head -c {len(data)} /dev/zero"))

    floor = 1.2
    cluster["h1"].rate("16mbit")
    assert min(to("h1"), back("h1")) > floor
    # One quick transfer proves that there is no limit; on a busy machine the first may be slow all the same.
    wait_for(lambda: to("h2") < floor or None, "quickly to h2")
    wait_for(lambda: back("h2") < floor or None, "quickly from h2")
    cluster["h1"].rate(None)
    wait_for(lambda: to("h1") < floor or None, "quickly to h1 again")
    wait_for(lambda: back("h1") < floor or None, "quickly from h1 again")


def seconds(deed: Callable[[], object]) -> float:
    started = time.monotonic()
    deed()
    return time.monotonic() - started


def test_a_delay_is_felt(cluster: Cluster) -> None:
    """100 ms in both directions show in every round trip; without netem in the kernel the switch says so."""
    try:
        cluster["h1"].delay(100)
    except UnavailableError as error:
        assert "netem" in str(error)
        pytest.skip(str(error))
    assert seconds(lambda: reaches(cluster, "h1", cluster.hub_address)) > 0.2


def test_a_small_disk_fills_and_is_freed(cluster: Cluster) -> None:
    """A full disk refuses bytes with ENOSPC, a freed one takes them, and keeps them over a power cut; the home
    beside it has room all the while."""
    h2 = cluster["h2"]
    seen_here = h2.mount_disk("out", "4m")
    write = "head -c 1000000 /dev/zero >~/out/file"
    said(cluster, "h2", write)
    assert (seen_here / "file").stat().st_size == 1_000_000
    h2.fill_disk("out")
    refused = ssh(cluster, "h2", "head -c 1000000 /dev/zero >~/out/more")
    assert refused.returncode != 0
    assert b"No space left on device" in refused.stderr
    said(cluster, "h2", "touch ~/beside && echo text >~/beside")
    h2.free_disk("out")
    said(cluster, "h2", "head -c 1000000 /dev/zero >~/out/more")
    cluster.kill("h2")
    cluster.up()
    assert said(cluster, "h2", "stat -c %s ~/out/file ~/out/more").split() == ["1000000"] * 2


def test_a_power_cut_leaves_no_process(cluster: Cluster) -> None:
    """Of a killed host no process is left, not even one in a session of its own; up again it answers under the same
    key, its home as it was."""
    said(cluster, "h1", "setsid -f sleep 4244 </dev/null >/dev/null 2>&1; echo kept >~/kept")
    init = cluster["h1"].init
    assert init is not None
    own = namespace(init, "pid")
    wait_for(lambda: running(cluster, "h1", "sleep", "4244") or None, "a sleeper on h1")
    cluster.kill("h1")
    assert [pid for pid in pids() if namespace(pid, "pid") == own] == []
    assert cluster["h1"].processes() == []
    assert ssh(cluster, "h1", "true", "-o", "ConnectTimeout=1").returncode == 255
    assert said(cluster, "h2", "hostname") == "h2"
    cluster.up()
    assert said(cluster, "h1", "cat ~/kept") == "kept"


def test_sshd_dies_and_comes_back(cluster: Cluster) -> None:
    """Without sshd the host refuses connections and its sessions are over, but a command that does not mind lives on;
    started again it accepts."""
    with at_work(cluster, "h3", "sleep", "4245") as client:
        assert len(cluster["h3"].of_role("sshd sessions")) >= 1
        cluster["h3"].stop_sshd()
        assert client.wait(timeout=30) == 255
        assert running(cluster, "h3", "sleep", "4245")
        refused = ssh(cluster, "h3", "true")
        assert b"Connection refused" in refused.stderr
        cluster["h3"].start_sshd()
        assert said(cluster, "h3", "hostname") == "h3"


def test_roles_are_told_apart(host_fleet: Fleet, cluster: Cluster) -> None:
    """During a run every host has one supervisor, two ranks of its own numbers and a session, the launcher one pdsh and
    an ssh for each host; each can be struck alone."""
    host_fleet.hold_after(2)
    launcher = host_fleet.start()
    launcher.wait_for(lambda events: count(events, "host_started") == 3)
    for first, host in zip((0, 2, 4), cluster.hosts.values(), strict=True):
        wait_for(partial(two_ranks, host), f"two ranks on {host.name}")
        assert len(host.of_role("supervisor")) == 1
        numbers = [number for number in range(6) if host.of_role(f"rank {number}")]
        assert numbers == [first, first + 1]
        assert len(host.of_role("sshd sessions")) >= 1
        assert len(host.processes(f"SHARDFLEET_JOB={host_fleet.run_id}")) >= 3
    # SIGCONT to what runs changes nothing: only the roles are in question.
    for role, expected in {"launcher": 1, "pdsh": 1, "ssh": 3, "ssh h2": 1}.items():
        found = strike_launcher(host_fleet, role, signal.SIGCONT)
        assert len(found) == expected, f"{role}: {found}"
    beside = cluster["h1"].of_role("rank 1")
    (struck,) = cluster["h1"].strike("rank 0")
    wait_for(lambda: None if struck in cluster["h1"].of_role("rank 0") else True, "rank 0 dies")
    assert cluster["h1"].of_role("rank 1") == beside
    (ssh_to_h2,) = strike_launcher(host_fleet, "ssh h2")
    wait_for(lambda: None if ssh_to_h2 in host_fleet.named("ssh") else True, "ssh dies")


def two_ranks(host: Host) -> bool | None:
    return len(host.of_role("ranks")) == 2 or None


def test_a_reset_host_is_as_new(cluster: Cluster) -> None:
    """After a reset nothing runs on any host, homes are empty, disks gone, limits off, cables in, dead hosts up."""
    said(cluster, "h1", "setsid -f sleep 4246 </dev/null >/dev/null 2>&1; mkdir ~/a && touch ~/a/b")
    cluster["h1"].mount_disk("out", "2m")
    cluster["h2"].rate("1mbit")
    cluster["h2"].link(up=False)
    cluster.kill("h3")
    cluster.reset()
    for host in cluster.hosts.values():
        assert host.processes() == []
        assert list(host.home.iterdir()) == []
        assert said(cluster, host.name, "ls -A ~") == ""
        assert host.init is not None
        assert not any("tbf" in queue for queue in host.cable.queues(host.init))


@pytest.mark.usefixtures("three_hosts")
def test_two_clusters_stand_at_once_and_leave_nothing(three_hosts: Cluster) -> None:
    """A second cluster has addresses and a bridge of its own; when it goes nothing of it is left, with a process, a
    disk, and a pulled cable on it, too."""
    with running_cluster(2) as other:
        assert other.subnet != three_hosts.subnet
        assert said(other, "h1", "hostname") == "h1"
        assert said(three_hosts, "h1", "hostname") == "h1"
        said(other, "h1", "setsid -f sleep 4247 </dev/null >/dev/null 2>&1")
        other["h1"].mount_disk("out", "2m")
        other["h2"].link(up=False)
        own = namespaces_of(other)
    assert_gone(other, own)
    assert said(three_hosts, "h1", "hostname") == "h1"


def namespaces_of(cluster: Cluster) -> set[str | None]:
    inits = [host.init for host in cluster.hosts.values()]
    return {namespace(init, kind) for init in inits if init is not None for kind in ("pid", "net", "mnt", "uts")}


def assert_gone(cluster: Cluster, namespaces: set[str | None]) -> None:
    """No process in these namespaces, no device, mount or file of the cluster."""
    left = [pid for pid in pids() for kind in ("pid", "net", "mnt", "uts") if namespace(pid, kind) in namespaces]
    assert left == []
    assert [device.name for device in Path("/sys/class/net").iterdir() if device.name.startswith(cluster.name)] == []
    assert mounts_under(cluster.directory) == []
    assert not cluster.directory.exists()


@pytest.mark.usefixtures("three_hosts")
def test_a_killed_owner_takes_its_hosts_with_it() -> None:
    """After SIGKILL of the process that made a cluster its hosts die by themselves, and the next cluster that is made
    clears the rest away; those of living owners stay."""
    program = (
        "from tests.support.netns import make_cluster\n"
        "cluster = make_cluster(2)\n"
        "cluster['h1'].mount_disk('out', '2m')\n"
        "print(cluster.name, flush=True)\n"
        "input()\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program], cwd=_REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        name = owner.stdout.readline().strip()
        (left,) = (cluster for cluster in clusters() if cluster.name == name)
        own = namespaces_of(left)
        living = {cluster.name for cluster in clusters()} - {name}
    finally:
        owner.kill()
        owner.communicate()
    wait_for(lambda: all(host.init is None for host in left.hosts.values()) or None, "the hosts die")
    clear_leftovers()
    assert_gone(left, own)
    assert {entry.name for entry in base().iterdir()} >= living


@contextmanager
def by_hand(directory: Path) -> Iterator[Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]]:
    """scripts/test-cluster.sh with a state directory of its own; whatever stands there in the end is taken down."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "XDG_RUNTIME_DIR": str(directory)}

    def call(argv: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        script = _REPOSITORY / "scripts" / "test-cluster.sh"
        return subprocess.run([script, *argv], env=environment, capture_output=True, text=True, timeout=60)

    try:
        yield call
    finally:
        with suppress(subprocess.TimeoutExpired):
            call(["down"])


@pytest.mark.usefixtures("three_hosts")
def test_the_script_does_the_same_by_hand(tmp_path: Path) -> None:
    """Hosts and Hub stay after `up` ends, each word does what it says, a second `up` is refused, nothing is left."""
    with by_hand(tmp_path) as call:
        up = call(["up", "2"])
        assert up.returncode == 0, up.stderr
        assert "shardfleet launch --hosts" in up.stdout
        endpoint = next(word for word in up.stdout.split() if word.startswith("HF_ENDPOINT=")).partition("=")[2]
        program = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1])"
        asked = call(["exec", "h2", sys.executable, "-c", program, f"{endpoint}/-/stats"])
        assert asked.returncode == 0, asked.stderr
        failed = call(["exec", "h1", "sh", "-c", "hostname; exit 7"])
        assert (failed.stdout, failed.returncode) == ("h1\n", 7)
        assert "stand already" in call(["up", "1"]).stderr
        assert call(["link", "h2", "down"]).returncode == 0
        assert call(["rate", "h1", "8mbit"]).returncode == 0
        h1, h2 = call(["status"]).stdout.splitlines()
        assert "8Mbit" in h1
        assert "link down" in h2
        (directory,) = (tmp_path / "shardfleet-hosts").glob("sf*")
        assert call(["down"]).returncode == 0
        assert not directory.exists()
        assert mounts_under(directory) == []
        assert not Path("/sys/class/net", directory.name).exists()
        assert "no hosts stand" in call(["exec", "h1", "true"]).stderr
