"""One set of behaviours for both channels, and what only SSH has: keys, servers, jump hosts."""

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.errors import HostsFileError, RemoteError
from provision.hosts import Host, parse_hosts
from provision.reach.channel import Channel, Completed
from provision.reach.fleet import on_all, open_channel
from provision.reach.local import LocalChannel
from provision.reach.quoting import remote_command, remote_path_word
from provision.reach.ssh.channel import SshChannel
from provision.reach.ssh.config import write_ssh_config
from provision.reach.ssh.openssh import ask_openssh
from tests.support.sshd import LoopbackHost, LoopbackHosts, loopback_hosts

ALPHA = Host(name="alpha", ranks=1)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[LoopbackHosts]:
    with loopback_hosts(tmp_path / "hosts", ["alpha", "beta"]) as running:
        yield running


def config_of(servers: LoopbackHosts, hosts: tuple[Host, ...] = (ALPHA,)) -> Path:
    config = servers.config.with_name("run_config")
    write_ssh_config(config, hosts, user_config=servers.config)
    return config


@pytest.fixture(scope="module")
def one_connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LoopbackHost, Channel]]:
    """A server and a channel to it that many tests use, one after the other."""
    with (
        loopback_hosts(tmp_path_factory.mktemp("shared"), ["alpha"]) as running,
        SshChannel(ALPHA, config_of(running)) as opened,
    ):
        yield running.hosts["alpha"], opened


@pytest.fixture(params=["local", pytest.param("ssh", marks=pytest.mark.ssh)])
def channel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:
    """A channel to this machine and one over SSH, each with an empty home directory."""
    if request.param == "ssh":
        server, opened = request.getfixturevalue("one_connection")
        shutil.rmtree(server.home)
        server.home.mkdir()
        yield opened
    else:
        home = tmp_path / "home"
        home.mkdir()
        monkeypatch.setenv("HOME", str(home))
        with LocalChannel(Host(name="localhost", ranks=1)) as opened:
            yield opened


def mode_of(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


# --- files ---


def test_home_is_where_the_tilde_leads(channel: Channel) -> None:
    """home(), the working directory of commands, and `~/` in paths and arguments are one directory."""
    home = channel.home()
    assert os.listdir(home) == []
    channel.put(b"x", "~/here")
    assert (Path(home) / "here").read_bytes() == b"x"
    assert channel.get("here") == b"x"
    assert channel.run(["pwd"], timeout=30).stdout == f"{home}\n".encode()
    assert channel.run(["printf", "%s", "~/a b"], timeout=30).stdout == f"{home}/a b".encode()


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o400])
def test_put_gives_the_mode_whatever_the_umask(channel: Channel, mode: int) -> None:
    """A file has the mode asked for; directories made on the way are the user's alone."""
    channel.put(b"secret", "~/deep er/down/token", mode=mode)
    home = Path(channel.home())
    assert mode_of(home / "deep er/down/token") == mode
    assert mode_of(home / "deep er/down") == 0o700
    assert mode_of(home / "deep er") == 0o700


@pytest.mark.parametrize("size", [0, 1, 32768, 3_000_001])
def test_what_is_put_is_got(channel: Channel, size: int) -> None:
    """Any bytes come back as they went, and nothing else is left beside them."""
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    channel.put(data, "~/d/f")
    assert channel.get("~/d/f") == data
    assert os.listdir(Path(channel.home()) / "d") == ["f"]


def test_a_rest_keeps_the_channel(channel: Channel) -> None:
    """After a rest the channel writes and reads as before."""
    channel.put(b"before", "rested")
    channel.rest(0.2)
    channel.put(b"after", "rested")
    assert channel.get("rested") == b"after"


@pytest.mark.ssh
def test_a_rested_connection_is_closed_at_once(servers: LoopbackHosts) -> None:
    """A connection that has rested is closed without waiting for the next look at it."""
    with SshChannel(ALPHA, config_of(servers)) as channel:
        channel.rest(0.2)
        began = time.monotonic()
    assert time.monotonic() - began < 2.0


def test_put_replaces_whole(channel: Channel) -> None:
    """A reader of the old file keeps the old content: the new one is renamed into place, with its own mode."""
    channel.put(b"old content", "~/f", mode=0o644)
    with (Path(channel.home()) / "f").open("rb") as reader:
        channel.put(b"new", "~/f")
        assert reader.read() == b"old content"
    assert channel.get("~/f") == b"new"
    assert mode_of(Path(channel.home()) / "f") == 0o600


def test_put_never_shows_half_a_file_nor_opens_a_secret(channel: Channel) -> None:
    """While a file is rewritten over and over, a watcher finds it whole and closed to others at every moment."""
    home = Path(channel.home())
    channel.put(b"a" * 200_000, "~/d/f")
    done = threading.Event()
    seen: list[str] = []

    def watch() -> None:
        while not done.is_set():
            if len(content := (home / "d/f").read_bytes()) != 200_000 or len(set(content)) != 1:
                seen.append(f"{len(content)} bytes")
            for entry in os.scandir(home / "d"):
                try:
                    # A scratch directory counts as much as a file: nobody else may enter it.
                    if (mode := stat.S_IMODE(entry.stat().st_mode)) & 0o077:
                        seen.append(f"{entry.name} has mode {mode:o}")
                except FileNotFoundError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for letter in b"bcdefghij":
            channel.put(bytes([letter]) * 200_000, "~/d/f")
    finally:
        done.set()
        watcher.join()
    assert seen == []


def test_put_where_nothing_can_be_is_an_error(channel: Channel) -> None:
    """A parent that is a file, or a target that is a directory, is refused with host and path; nothing is left over."""
    channel.put(b"x", "~/d/f")
    channel.put(b"x", "~/d/sub/f")
    for path in ("~/d/f/below", "~/d/sub"):
        with pytest.raises(RemoteError, match=rf"{channel.host.name}: cannot write {path}: "):
            channel.put(b"y", path)
    assert sorted(os.listdir(Path(channel.home()) / "d")) == ["f", "sub"]


def test_get_of_nothing(channel: Channel) -> None:
    """A missing file is FileNotFoundError; a directory is a failure of the host."""
    with pytest.raises(FileNotFoundError):
        channel.get("~/nothing")
    channel.put(b"x", "~/d/f")
    with pytest.raises(RemoteError, match="cannot read ~/d"):
        channel.get("~/d")


def test_remove(channel: Channel) -> None:
    """Removing removes, twice is fine, and a directory is not removed."""
    channel.put(b"x", "~/d/f")
    channel.remove("~/d/f")
    channel.remove("~/d/f")
    channel.remove("~/no/such/place")
    with pytest.raises(RemoteError, match="cannot remove ~/d"):
        channel.remove("~/d")
    assert os.listdir(channel.home()) == ["d"]


@pytest.mark.parametrize(
    "path", ["~/a b", "~/$(touch x)", "~/'\"", "~/~", "~/new\nline", "~/größe", "~/-rf", "~/a#b;c&d"]
)
def test_paths_are_only_names(channel: Channel, path: str) -> None:
    """A path is a name whatever its characters, for files and for commands alike."""
    channel.put(b"x", path)
    assert os.listdir(channel.home()) == [path[2:]]
    assert channel.run(["cat", path], timeout=30) == Completed(0, b"x", b"")
    channel.remove(path)
    assert os.listdir(channel.home()) == []


# --- commands ---


@pytest.mark.parametrize(
    "argument",
    [
        "",
        "a b",
        "$(touch x)",
        "`touch x`",
        "'\"",
        "'",
        "\\",
        "new\nline",
        "; touch x",
        "*",
        "~",
        "~root",
        "x~/y",
        "-n",
        "%h",
        "é",
    ],
)
def test_arguments_arrive_as_they_are(channel: Channel, argument: str) -> None:
    """No argument is read by a shell on its way, but for a leading `~/`."""
    expected = channel.home() if argument == "~" else argument
    done = channel.run(["printf", "%s|", argument, argument], timeout=30)
    assert done == Completed(0, f"{expected}|{expected}|".encode(), b"")
    assert os.listdir(channel.home()) == []


@pytest.mark.parametrize("code", [0, 1, 7, 126, 255])
def test_exit_codes(channel: Channel, code: int) -> None:
    """The exit code comes back as it was, with both outputs apart."""
    done = channel.run(["sh", "-c", f"echo out; echo err >&2; exit {code}"], timeout=30)
    assert done == Completed(code, b"out\n", b"err\n")


def test_a_missing_command_is_127(channel: Channel) -> None:
    """A command that does not exist is an exit code with the shell's words, not a failure of the host."""
    done = channel.run(["no-such-command-here"], timeout=30)
    assert done.returncode == 127
    assert b"no-such-command-here" in done.stderr


def test_a_signal_is_no_success(channel: Channel) -> None:
    """A command that a signal ended has the shell's code for that, or -1 where no shell was left to give one."""
    assert channel.run(["sh", "-c", "kill -9 $$"], timeout=30).returncode in {128 + 9, -1}


def test_much_output_on_both_sides_at_once(channel: Channel) -> None:
    """Five megabytes on stdout and on stderr, in turns and with stdin behind them, arrive whole."""
    script = (
        "i=0; while [ $i -lt 80 ]; do head -c 65536 /dev/zero; head -c 65536 /dev/zero >&2; i=$((i+1)); done; wc -c >&2"
    )
    done = channel.run(["sh", "-c", script], timeout=60, stdin=b"y" * 5_000_000)
    assert done.returncode == 0
    assert done.stdout == b"\0" * 80 * 65536
    assert done.stderr == b"\0" * 80 * 65536 + b"5000000\n"


def test_stdin_arrives_and_ends(channel: Channel) -> None:
    """The command reads its stdin to the end; without any it reads the end at once; unread stdin is no failure."""
    data = os.urandom(3_000_000)
    assert channel.run(["cat"], timeout=60, stdin=data) == Completed(0, data, b"")
    assert channel.run(["cat"], timeout=30) == Completed(0, b"", b"")
    assert channel.run(["true"], timeout=30, stdin=data).returncode == 0


@pytest.mark.parametrize(
    "script", ["sleep 60", "exec >&- 2>&-; sleep 60", "while :; do echo x; done", "cat >/dev/null; sleep 60"]
)
def test_a_timeout_is_an_error(channel: Channel, script: str) -> None:
    """A command that takes too long, silent or chattering, is an error at its timeout, and the channel lives on."""
    began = time.monotonic()
    with pytest.raises(RemoteError, match=rf"{channel.host.name}: sh -c .* did not end within 0\.5 s"):
        channel.run(["sh", "-c", script], timeout=0.5, stdin=b"x" * 100_000)
    assert time.monotonic() - began < 10
    assert channel.run(["echo", "still here"], timeout=30).stdout == b"still here\n"


def test_a_local_timeout_leaves_nothing_running(tmp_path: Path) -> None:
    """On this machine a command that took too long is killed with what it started."""
    with LocalChannel(Host(name="localhost", ranks=1)) as channel:
        fifo = tmp_path / "alive"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        with pytest.raises(RemoteError, match="was killed"):
            channel.run(["sh", "-c", f"exec 3>{fifo}; sleep 60 & sleep 60"], timeout=0.5)
        # The read ends only when no process holds the other end any more.
        os.set_blocking(reader, True)
        assert os.read(reader, 1) == b""
        os.close(reader)


def test_commands_need_a_word_without_nul() -> None:
    """An empty command and a NUL in an argument are mistakes of the caller."""
    with pytest.raises(ValueError, match="at least one"):
        remote_command([])
    with pytest.raises(ValueError, match="NUL"):
        remote_path_word("a\0b")


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("~/x y", "~/'x y'"),
        ("~/x", "~/x"),
        ("~", "~"),
        ("~/", "~/"),
        ("~bob/x", "'~bob/x'"),
        ("/a b", "'/a b'"),
        ("", "''"),
        ("a~/b", "'a~/b'"),
        ("~/$HOME", "~/'$HOME'"),
    ],
)
def test_path_words(path: str, word: str) -> None:
    """Only a leading `~/`, and `~` alone, stay for the shell to read."""
    assert remote_path_word(path) == word


# --- SSH alone: keys, servers, connections ---


def fingerprint(public_key: Path) -> str:
    said = subprocess.run(["ssh-keygen", "-lf", public_key], capture_output=True, text=True, check=True)
    return said.stdout.split()[1]


@pytest.mark.ssh
def test_an_unknown_host_key_is_refused(servers: LoopbackHosts) -> None:
    """A server nobody noted the key of is refused, with its fingerprint and the command that would accept it."""
    alpha = servers.hosts["alpha"]
    (alpha.directory / "known_hosts").unlink()
    config = config_of(servers)
    with pytest.raises(RemoteError) as caught:
        SshChannel(ALPHA, config)
    message = str(caught.value)
    assert message.startswith(f"alpha: no known key for the server at 127.0.0.1 port {alpha.port}; ")
    assert f"ssh-ed25519 {fingerprint(alpha.directory / 'host_key.pub')}" in message
    # The remedy is a command that works, and that we work after: run it, answering yes.
    command = message.rpartition("accept it once with: ")[2].replace("=ask", "=accept-new")
    subprocess.run(["sh", "-c", f"{command} true"], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    with SshChannel(ALPHA, config) as channel:
        assert channel.run(["true"], timeout=30).returncode == 0


@pytest.mark.ssh
def test_a_changed_host_key_is_refused(servers: LoopbackHosts) -> None:
    """A server with another key than the one noted is refused with both fingerprints and how to forget the old."""
    alpha, beta = servers.hosts["alpha"], servers.hosts["beta"]
    other = " ".join((beta.directory / "host_key.pub").read_text().split()[:2])
    (alpha.directory / "known_hosts").write_text(f"[127.0.0.1]:{alpha.port} {other}\n")
    with pytest.raises(RemoteError) as caught:
        SshChannel(ALPHA, config_of(servers))
    message = str(caught.value)
    assert f"it shows ssh-ed25519 {fingerprint(alpha.directory / 'host_key.pub')}" in message
    assert f"known is ssh-ed25519 {fingerprint(beta.directory / 'host_key.pub')}" in message
    assert f"ssh-keygen -R '[127.0.0.1]:{alpha.port}' -f {alpha.directory}/known_hosts" in message


@pytest.mark.ssh
def test_a_revoked_host_key_is_refused(servers: LoopbackHosts) -> None:
    """A key marked @revoked is refused even where another line trusts it."""
    known = servers.hosts["alpha"].directory / "known_hosts"
    known.write_text(known.read_text() + "@revoked * " + known.read_text().partition(" ")[2])
    with pytest.raises(RemoteError, match=r"alpha: .*marked @revoked"):
        SshChannel(ALPHA, config_of(servers))


@pytest.mark.ssh
@pytest.mark.parametrize("form", ["hashed", "pattern", "bare name", "alias", "second file", "with spaces"])
def test_known_hosts_are_read_as_ssh_reads_them(servers: LoopbackHosts, form: str) -> None:
    """Hashed names, patterns, names without port, aliases and several files all make a key known."""
    alpha = servers.hosts["alpha"]
    known = alpha.directory / "known_hosts"
    key = known.read_text().partition(" ")[2]
    # The first value in a config wins, so what a form needs goes before the servers' own.
    setting = ""
    if form == "hashed":
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
        assert known.read_text().startswith("|1|")
    elif form == "pattern":
        known.write_text(f"# all\nnothing-here\n[127.0.0.*]:*,!other {key}")
    elif form == "bare name":
        known.write_text(f"127.0.0.1 {key}")
    elif form == "alias":
        known.write_text(f"cluster {key}")
        setting = "HostKeyAlias cluster\n"
    elif form == "second file":
        known.rename(known.with_name("more"))
        setting = f"UserKnownHostsFile {known} {known.with_name('more')}\n"
    else:
        known.rename(known.with_name("my known hosts"))
        setting = f'UserKnownHostsFile "{known.with_name("my known hosts")}"\n'
    servers.config.write_text(setting + servers.config.read_text())
    with SshChannel(ALPHA, config_of(servers)) as channel:
        assert channel.run(["true"], timeout=30).returncode == 0


@pytest.mark.ssh
def test_the_known_type_of_key_is_asked_for(tmp_path: Path) -> None:
    """A server with keys of two types is met with the one that is noted, be it not the preferred one."""
    for kind in ("rsa", "ecdsa"):
        with loopback_hosts(tmp_path / kind, ["alpha"], host_key_types=("ed25519", kind)) as servers:
            alpha = servers.hosts["alpha"]
            key = " ".join((alpha.directory / f"host_key_{kind}.pub").read_text().split()[:2])
            (alpha.directory / "known_hosts").write_text(f"[127.0.0.1]:{alpha.port} {key}\n")
            with SshChannel(ALPHA, config_of(servers)) as channel:
                assert channel.run(["true"], timeout=30).returncode == 0


@pytest.mark.ssh
def test_a_wrong_identity_is_refused(servers: LoopbackHosts) -> None:
    """A key the server does not accept is an error with the account, the key and what to do."""
    beta_id = servers.hosts["beta"].directory / "id"
    servers.config.write_text(
        servers.config.read_text().replace(str(servers.hosts["alpha"].directory / "id"), str(beta_id))
    )
    with pytest.raises(RemoteError) as caught:
        SshChannel(ALPHA, config_of(servers))
    assert re.match(rf"alpha: \S+@127\.0\.0\.1 port \d+ accepts none of the keys {beta_id}; ", str(caught.value))
    assert "authorized_keys" in str(caught.value)


@pytest.mark.ssh
def test_no_identity_at_all(servers: LoopbackHosts) -> None:
    """Without any key to offer, the error says so."""
    (servers.hosts["alpha"].directory / "id").unlink()
    with pytest.raises(RemoteError, match="asks for a key and there is none to offer"):
        SshChannel(ALPHA, config_of(servers))


@pytest.mark.ssh
def test_a_passphrase_key_works_through_the_agent(servers: LoopbackHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with a passphrase is named as such; once the agent holds it, it signs us in, IdentitiesOnly or not."""
    directory = servers.hosts["alpha"].directory
    servers.config.write_text(servers.config.read_text().replace("  IdentityAgent none\n", ""))
    config = config_of(servers)
    plain = directory / "plain"
    plain.write_bytes((directory / "id").read_bytes())
    plain.chmod(0o600)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", directory / "id"], check=True, capture_output=True
    )
    # A socket's path has about a hundred characters at most, and tmp_path may be longer.
    short = Path(tempfile.mkdtemp())
    agent_socket = short / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", agent_socket], stdout=subprocess.PIPE)
    try:
        assert agent.stdout is not None
        agent.stdout.readline()  # it prints its variables once it listens
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent_socket))
        with pytest.raises(RemoteError, match=rf"{directory}/id has a passphrase: run 'ssh-add {directory}/id'"):
            SshChannel(ALPHA, config)
        subprocess.run(["ssh-add", "-q", plain], check=True, capture_output=True)
        with SshChannel(ALPHA, config) as channel:
            assert channel.run(["true"], timeout=30).returncode == 0
    finally:
        agent.kill()
        agent.communicate()
        shutil.rmtree(short)


@pytest.mark.ssh
def test_a_dead_server_is_an_error(servers: LoopbackHosts) -> None:
    """A server that is gone is an error with its address and what to look at, at once."""
    config = config_of(servers)
    port = servers.hosts["alpha"].port
    with SshChannel(ALPHA, config) as channel:
        servers.stop("alpha")
        with pytest.raises(RemoteError, match=r"alpha: .*the connection was lost"):
            channel.run(["true"], timeout=30)
        with pytest.raises(RemoteError, match=r"alpha: .*the connection was lost"):
            channel.put(b"x", "~/f")
    with pytest.raises(
        RemoteError, match=f"alpha: cannot connect to 127.0.0.1 port {port}: Connection refused; is it up"
    ):
        SshChannel(ALPHA, config)


@pytest.mark.ssh
def test_a_connection_lost_on_the_way_is_an_error(servers: LoopbackHosts) -> None:
    """A command whose connection dies has no result, rather than an exit code made up."""
    with SshChannel(ALPHA, config_of(servers)) as channel:
        fifo = Path(channel.home()) / "started"
        os.mkfifo(fifo)

        def cut() -> None:
            fifo.read_text()  # returns when the command has opened its end
            servers.kill_sessions("alpha")

        cutter = threading.Thread(target=cut)
        cutter.start()
        with pytest.raises(RemoteError, match=r"alpha: .*the connection was lost"):
            channel.run(["sh", "-c", ": > ~/started; sleep 60"], timeout=60)
        cutter.join()
    with SshChannel(ALPHA, config_of(servers)) as channel:
        assert channel.run(["true"], timeout=30).returncode == 0


@pytest.mark.ssh
def test_a_server_that_says_nothing_is_an_error(servers: LoopbackHosts) -> None:
    """A port that accepts and keeps silent is given up after the connect timeout."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        text = servers.config.read_text().replace(f"Port {servers.hosts['alpha'].port}", f"Port {port}")
        servers.config.write_text(text + "Host *\n  ConnectTimeout 1\n")
        with pytest.raises(RemoteError, match=f"alpha: no SSH handshake with 127.0.0.1 port {port}: "):
            SshChannel(ALPHA, config_of(servers))


@pytest.mark.ssh
def test_a_name_that_does_not_exist_is_an_error(servers: LoopbackHosts) -> None:
    """A host name nobody knows is an error that names it."""
    with pytest.raises(RemoteError, match=r"nobody\.invalid: cannot connect to nobody\.invalid port 22: "):
        SshChannel(Host(name="nobody.invalid", ranks=1), config_of(servers))


@pytest.mark.ssh
@pytest.mark.parametrize("setting", ["ProxyJump beta", "ProxyCommand ssh -F {config} -W %h:%p beta"])
def test_a_host_behind_another(servers: LoopbackHosts, setting: str) -> None:
    """A host is reached over a jump host, by the same config; when that is gone, its words are in the error."""
    config = servers.config.with_name("run_config")
    block = f"Host alpha\n  {setting.format(config=config)}\n"
    servers.config.write_text(block + servers.config.read_text())
    config_of(servers)
    with SshChannel(ALPHA, config) as channel:
        channel.put(b"x" * 200_000, "~/f")
        assert channel.get("~/f") == b"x" * 200_000
        assert "session opened" in servers.hosts["beta"].log or "Accepted publickey" in servers.hosts["beta"].log
    servers.stop("beta")
    port = servers.hosts["beta"].port
    with pytest.raises(RemoteError, match=f"alpha: no SSH handshake with .* port {port}: Connection refused"):
        SshChannel(ALPHA, config)


@pytest.mark.ssh
def test_user_and_port_of_hosts_txt_are_used(servers: LoopbackHosts) -> None:
    """What hosts.txt says of user and port decides the connection."""
    port = servers.hosts["alpha"].port
    text = servers.config.read_text().replace(f"  Port {port}\n", "  Port 1\n")
    servers.config.write_text(text)
    (host,) = parse_hosts(f"alpha 1 port={port}")
    with SshChannel(host, config_of(servers, (host,))) as channel:
        assert channel.run(["true"], timeout=30).returncode == 0
    (host,) = parse_hosts(f"nobody-here@alpha 1 port={port}")
    with pytest.raises(RemoteError, match=f"alpha: nobody-here@127.0.0.1 port {port} "):
        SshChannel(host, config_of(servers, (host,)))


# --- all hosts at once ---


@pytest.mark.ssh
def test_every_host_has_its_outcome(servers: LoopbackHosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers and failures come back together, in the order of the hosts, this machine among them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    hosts = parse_hosts("beta 1\nlocalhost 1\nnobody.invalid 1\nalpha 1\n")
    outcomes = on_all(hosts, config_of(servers, hosts), lambda channel: channel.home())
    assert tuple(outcomes) == hosts
    beta, local, nobody, alpha = outcomes.values()
    assert (beta, local, alpha) == (str(servers.hosts["beta"].home), str(tmp_path), str(servers.hosts["alpha"].home))
    assert isinstance(nobody, RemoteError)


def test_failures_of_the_host_are_outcomes_and_mistakes_are_raised(tmp_path: Path) -> None:
    """An OSError becomes a RemoteError naming the host, any ProvisionError stays itself, everything else is raised."""
    hosts = parse_hosts("localhost 1")
    outcome = on_all(hosts, tmp_path, lambda channel: channel.get("/no/such/file"))[hosts[0]]
    assert isinstance(outcome, RemoteError)
    assert str(outcome).startswith("localhost: ")

    def refuse(channel: Channel) -> None:
        raise HostsFileError(channel.host.name)

    assert isinstance(on_all(hosts, tmp_path, refuse)[hosts[0]], HostsFileError)
    with pytest.raises(ZeroDivisionError):
        on_all(hosts, tmp_path, lambda _: 1 // 0)


def test_ctrl_c_is_not_for_what_reaches_a_host(tmp_path: Path) -> None:
    """What is started to reach a host, `ssh -G` for one, lives on when Ctrl+C comes before it has a session of its
    own: a second one must not end the attempt to stop that host."""
    struck = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"]
    outcomes = on_all(
        parse_hosts("localhost 1"), tmp_path, lambda _: ask_openssh(struck, host="localhost", if_slow="").stdout
    )
    assert [*outcomes.values()] == [b"alive\n"]


def test_no_hosts_is_no_outcome(tmp_path: Path) -> None:
    """Nothing to do is done at once."""
    assert on_all((), tmp_path, lambda channel: channel.home()) == {}


def test_this_machine_needs_no_ssh(tmp_path: Path) -> None:
    """A local host is opened without an ssh config."""
    with open_channel(Host(name="localhost", ranks=1), tmp_path / "nothing") as channel:
        assert isinstance(channel, LocalChannel)
