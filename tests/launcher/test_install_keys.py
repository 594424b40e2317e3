"""provision --install-key and unknown host keys: real OpenSSH servers, and a terminal where one is asked for."""

import os
import re
import secrets
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from provision.errors import InputError
from provision.install.keys import read_public_key
from provision.reach.ssh.learn import read_fingerprints
from tests.support.sshd import LoopbackHost, loopback_hosts

pytestmark = pytest.mark.ssh

SHARDFLEET = str(Path(sys.executable).parent / "shardfleet")
SECONDS = 60.0


@dataclass(frozen=True)
class Ended:
    """A command that ended, and all it showed."""

    returncode: int
    text: str


@dataclass(frozen=True)
class Desk:
    """Where the user sits: hosts.txt, an ssh config, a cache."""

    directory: Path
    config: Path

    def argv(self, *args: str) -> list[str]:
        hosts = str(self.directory / "hosts.txt")
        return [SHARDFLEET, "provision", "--hosts", hosts, "--ssh-config", str(self.config), *args]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "XDG_CACHE_HOME": str(self.directory / "cache")}

    def run(self, *args: str) -> Ended:
        """Without a terminal."""
        done = subprocess.run(
            self.argv(*args),
            env=self.environment,
            input="yes\n" * 10,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
        return Ended(done.returncode, done.stdout)

    def type(self, answers: Sequence[tuple[str, str]], *args: str) -> Ended:
        """At a terminal: each answer is typed when its question has appeared."""
        far, near = os.openpty()
        process = subprocess.Popen(
            ["setsid", "--ctty", *self.argv(*args)], env=self.environment, stdin=near, stdout=near, stderr=near
        )
        os.close(near)
        text, deadline, waiting = "", time.monotonic() + SECONDS, list(answers)
        unread = 0
        with suppress(OSError):  # the other end is closed
            while time.monotonic() < deadline:
                if select.select([far], [], [], 0.1)[0]:
                    text += os.read(far, 1 << 16).decode(errors="replace")
                if waiting and (found := text.find(waiting[0][0], unread)) >= 0:
                    unread = found + len(waiting[0][0])
                    os.write(far, f"{waiting.pop(0)[1]}\n".encode())
        os.close(far)
        if time.monotonic() >= deadline:
            process.kill()
        returncode = process.wait()
        assert not waiting, f"never asked {waiting[0][0]!r}:\n{text}"
        return Ended(returncode, text)


@dataclass(frozen=True)
class Stranger:
    """A host of two keys, none of them known, that accepts the user's key; and the desk."""

    desk: Desk
    host: LoopbackHost

    @property
    def known_hosts(self) -> Path:
        return self.host.directory / "known_hosts"

    def fingerprint(self, kind: str) -> str:
        """Of a host key, as its administrator reads it there."""
        file = self.host.directory / f"host_key_{kind}.pub"
        return subprocess.run(["ssh-keygen", "-lf", file], check=True, capture_output=True, text=True).stdout.split()[1]

    def ssh(self) -> int:
        """Exit code of ssh itself, with the key checked."""
        argv = [
            "ssh",
            "-F",
            self.desk.config,
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "alpha",
            "true",
        ]
        return subprocess.run(argv, capture_output=True).returncode


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Stranger]:
    with loopback_hosts(tmp_path / "ssh", ["alpha"], host_key_types=("ed25519", "ecdsa")) as running:
        (tmp_path / "hosts.txt").write_text("alpha 1\n")
        # Else it is as this machine's own config has it.
        running.config.write_text(f"HashKnownHosts no\n{running.config.read_text()}")
        stranger = Stranger(Desk(tmp_path, running.config), running.hosts["alpha"])
        stranger.known_hosts.unlink()
        yield stranger


QUESTION = "accept that key alone)"


def test_an_unknown_key_is_shown_and_kept_after_yes(stranger: Stranger) -> None:
    """The fingerprints are on the screen before anything is stored; after yes ssh itself knows the host."""
    ended = stranger.desk.type([(QUESTION, "perhaps"), (QUESTION, "yes")], "--install-key")
    assert ended.returncode == 0, ended.text
    for kind in ("ed25519", "ecdsa"):
        assert ended.text.index(stranger.fingerprint(kind)) < ended.text.index("Are they the same?")
    assert "Type yes, no, or one of the fingerprints" in ended.text
    assert "alpha: accepts the key already" in ended.text
    assert len(stranger.known_hosts.read_text().splitlines()) == 2
    assert stat.S_IMODE(stranger.known_hosts.stat().st_mode) == 0o600
    assert stranger.ssh() == 0


def test_a_typed_fingerprint_keeps_that_key_alone(stranger: Stranger) -> None:
    """Who types one of the fingerprints confirms that key and no other; a file without a last newline stays whole."""
    stranger.known_hosts.write_text("# mine")
    chosen = stranger.fingerprint("ecdsa")
    ended = stranger.desk.type([(QUESTION, chosen)], "--install-key")
    assert ended.returncode == 0, ended.text
    mine, added = stranger.known_hosts.read_text().splitlines()
    assert (mine, added.split()[:2]) == ("# mine", [f"[127.0.0.1]:{stranger.host.port}", "ecdsa-sha2-nistp256"])
    assert stranger.ssh() == 0


def test_no_keeps_nothing(stranger: Stranger) -> None:
    """After no the host is left out, by name, and no key is stored."""
    ended = stranger.desk.type([(QUESTION, "no")], "--install-key")
    assert ended.returncode == 1
    assert "nobody confirmed a key" in ended.text
    assert "failed on 1 of 1 hosts: alpha" in ended.text
    assert not stranger.known_hosts.exists()


@pytest.mark.parametrize("args", [["--install-key"], [], ["--check"]])
def test_a_pipe_confirms_nothing(stranger: Stranger, args: list[str]) -> None:
    """Without a terminal nobody is asked, whatever comes on standard input; the fingerprint is in the message."""
    ended = stranger.desk.run(*args)
    assert ended.returncode == 1
    assert stranger.fingerprint("ed25519") in ended.text
    assert not stranger.known_hosts.exists()


def test_listed_fingerprints_are_accepted_and_others_are_not(stranger: Stranger) -> None:
    """With a file of fingerprints nobody is asked: what stands there is kept, the other key of the host is not."""
    listed = stranger.desk.directory / "fingerprints.txt"
    listed.write_text(f"# {stranger.fingerprint('ecdsa')}\n256 SHA256:{'A' * 43} root@alpha (ED25519)\n")
    refused = stranger.desk.run("--install-key", "--host-key-fingerprints", str(listed))
    assert (refused.returncode, stranger.known_hosts.exists()) == (1, False)

    listed.write_text(f"256 {stranger.fingerprint('ed25519')} root@alpha (ED25519)\n")
    assert stranger.desk.run("--install-key", "--host-key-fingerprints", str(listed)).returncode == 0
    (line,) = stranger.known_hosts.read_text().splitlines()
    assert line.split()[1] == "ssh-ed25519"


def test_names_are_hashed_where_ssh_would(stranger: Stranger) -> None:
    """With HashKnownHosts the name cannot be read in the file, and ssh finds it all the same."""
    config = stranger.desk.config.read_text()
    stranger.desk.config.write_text(config.replace("HashKnownHosts no", "HashKnownHosts yes"))
    assert stranger.desk.type([(QUESTION, "yes")], "--install-key").returncode == 0
    assert "127.0.0.1" not in stranger.known_hosts.read_text()
    assert stranger.ssh() == 0


def test_a_changed_key_is_refused(stranger: Stranger) -> None:
    """Where another key is known nobody is asked, not even with its fingerprint listed: the remedy is named instead."""
    other = stranger.desk.directory / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    line = f"[127.0.0.1]:{stranger.host.port} {' '.join(other.with_suffix('.pub').read_text().split()[:2])}\n"
    stranger.known_hosts.write_text(line)
    listed = stranger.desk.directory / "fingerprints.txt"
    listed.write_text(stranger.fingerprint("ed25519"))
    for ended in (
        stranger.desk.type([], "--install-key"),
        stranger.desk.run("--install-key", "--host-key-fingerprints", str(listed)),
    ):
        assert ended.returncode == 1
        assert "is not the one known" in ended.text
        assert f"ssh-keygen -R '[127.0.0.1]:{stranger.host.port}'" in re.sub(r"\s+", " ", ended.text)
        assert stranger.known_hosts.read_text() == line


# Passwords


@dataclass(frozen=True)
class Account:
    """A host where a new user has a password and no key yet."""

    desk: Desk
    user: str
    password: str
    home: Path

    @property
    def authorized_keys(self) -> Path:
        return self.home / ".ssh/authorized_keys"


@contextmanager
def new_user() -> Iterator[tuple[str, str, Path]]:
    """Name, password and home of a user of this machine, removed at the end."""
    if os.geteuid() != 0 or shutil.which("useradd") is None or shutil.which("chpasswd") is None:
        pytest.skip("needs root and useradd, for an account with a password")
    name, password = f"sf{secrets.token_hex(4)}", secrets.token_urlsafe(12)
    # Where the user may enter: pytest's own directories are for the user who runs it.
    place = Path(tempfile.mkdtemp(prefix="shardfleet-user-"))
    place.chmod(0o755)
    try:
        made = subprocess.run(["useradd", "-m", "-d", place / "home", "-s", "/bin/sh", name], capture_output=True)
        if made.returncode != 0:
            pytest.skip(f"useradd: {made.stderr.decode().strip()}")
        subprocess.run(["chpasswd"], input=f"{name}:{password}\n", text=True, check=True)
        yield name, password, place / "home"
    finally:
        subprocess.run(["userdel", name], capture_output=True)
        shutil.rmtree(place)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with new_user() as (user, password, home), loopback_hosts(tmp_path / "ssh", ["alpha"]) as running:
        host = running.hosts["alpha"]
        # The server is told to take passwords and to look for keys where every sshd does; SIGHUP has it read that.
        settings = (host.directory / "sshd_config").read_text()
        settings = settings.replace("PasswordAuthentication no", "PasswordAuthentication yes")
        settings = settings.replace("StrictModes no", "StrictModes yes")
        settings = re.sub("(?m)^(?:ForceCommand|SetEnv) .*\n|^AuthorizedKeysFile .*\n", "", settings)
        (host.directory / "sshd_config").write_text(settings)
        started = host.log.count("Server listening")
        host.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + SECONDS
        while host.log.count("Server listening") == started and time.monotonic() < deadline:
            time.sleep(0.02)
        (tmp_path / "hosts.txt").write_text(f"{user}@alpha 1\n")
        yield Account(Desk(tmp_path, running.config), user, password, home)


PASSWORD = "to install your key: "


@pytest.mark.root
def test_a_key_is_installed_with_a_password_once(account: Account) -> None:
    """The password may be mistyped, is not echoed, and is needed once: then the key lets in."""
    ended = account.desk.type([(PASSWORD, "wrong"), (PASSWORD, account.password)], "--install-key")
    assert ended.returncode == 0, ended.text
    assert "accepts " in ended.text
    assert account.password not in ended.text
    assert account.authorized_keys.read_text() == (account.desk.directory / "ssh/alpha/id.pub").read_text()
    assert stat.S_IMODE(account.authorized_keys.stat().st_mode) == 0o600
    assert stat.S_IMODE(account.authorized_keys.parent.stat().st_mode) == 0o700

    again = account.desk.run("--install-key")
    assert (again.returncode, again.text) == (0, "alpha: accepts the key already\n")


@pytest.mark.root
def test_another_key_is_added_beside_those_there_are(account: Account) -> None:
    """A named key is added once, after what the file holds, over a connection that an accepted key opens."""
    mine = (account.desk.directory / "ssh/alpha/id.pub").read_text().strip()
    account.authorized_keys.parent.mkdir()
    account.authorized_keys.write_text(f"# kept\n{mine}")
    shutil.chown(account.authorized_keys.parent, account.user)
    shutil.chown(account.authorized_keys, account.user)
    other = account.desk.directory / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a 'b", "-f", other], check=True)
    for said in ("accepts ", "accepts the key already"):
        ended = account.desk.run("--install-key", f"{other}.pub")
        assert ended.returncode == 0, ended.text
        assert said in ended.text
    added = Path(f"{other}.pub").read_text().strip()
    assert account.authorized_keys.read_text().splitlines() == ["# kept", mine, added]


@pytest.mark.root
def test_three_wrong_passwords_are_enough(account: Account) -> None:
    """The host is named, and nothing is written there."""
    ended = account.desk.type([(PASSWORD, "wrong")] * 3, "--install-key")
    assert ended.returncode == 1
    assert "refused 3 passwords" in ended.text
    assert not account.authorized_keys.exists()


@pytest.mark.root
def test_a_password_is_typed_at_a_terminal_only(account: Account) -> None:
    """What comes through a pipe is not taken for a password."""
    ended = account.desk.run("--install-key")
    assert ended.returncode == 1
    assert "a password can be typed at a terminal only" in ended.text


def test_a_host_without_passwords_says_what_to_do(stranger: Stranger) -> None:
    """Where only keys are taken, and not this one, the message says who can help."""
    (stranger.host.directory / "authorized_keys").write_text("")
    stranger.known_hosts.write_text(
        f"[127.0.0.1]:{stranger.host.port} {(stranger.host.directory / 'host_key.pub').read_text()}"
    )
    ended = stranger.desk.type([(PASSWORD, "any")], "--install-key")
    assert ended.returncode == 1
    assert "takes no password, only publickey" in re.sub(r"\s+", " ", ended.text)


# Files


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n", "is a private key"),
        ("", "is no public key"),
        ("ssh-ed25519", "is no public key"),
        ("ssh-ed25519 AAAA me", "is no public key"),
        ("ssh-ed25519 not/base64! me", "is no public key"),
        ('command="x" ssh-ed25519 AAAA', "is no public key"),
    ],
)
def test_what_is_no_public_key_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    """Nothing but one public key goes into a file that decides who may sign in."""
    (tmp_path / "key.pub").write_text(text)
    with pytest.raises(InputError, match=problem):
        read_public_key(tmp_path / "key.pub")


def test_two_keys_in_a_file_are_refused(stranger: Stranger) -> None:
    """A second line would be a second key that nobody asked for."""
    file = stranger.desk.directory / "two.pub"
    file.write_text((stranger.host.directory / "id.pub").read_text() * 2)
    with pytest.raises(InputError, match="of one line"):
        read_public_key(file)


def test_a_file_without_fingerprints_is_refused(tmp_path: Path) -> None:
    """An empty list is taken for a mistake, and so is a fingerprint cut short."""
    (tmp_path / "list").write_text(f"SHA256:{'A' * 42}\nSHA256:{'A' * 44}\n# SHA256:{'A' * 43}\n")
    with pytest.raises(InputError, match="holds no fingerprint"):
        read_fingerprints(tmp_path / "list")
    with pytest.raises(InputError, match="cannot be read"):
        read_fingerprints(tmp_path / "missing")
