import os
import stat
import subprocess
from pathlib import Path

import pytest

from provision.errors import InputError, RemoteError
from provision.hosts import Host, parse_hosts
from provision.reach.ssh.config import write_ssh_config
from provision.reach.ssh.resolve import resolve

HOSTS = parse_hosts("bob@gpu9.lan 8 port=2222\nalice@gpu8.lan 8\ngpu7.lan 8 port=77\ngpu6.lan 8\n")
HOST_NAMES = [host.name for host in HOSTS]


def answers(config: Path, name: str) -> dict[str, list[str]]:
    """What the ssh client makes of a config: keyword → values."""
    said = subprocess.run(
        ["ssh", "-G", "-F", config, name], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = {}
    for line in said.stdout.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def user_config(tmp_path: Path) -> Path:
    directory = tmp_path / "a [b] *c"
    directory.mkdir()
    file = directory / "user's config"
    file.write_text("")
    return file


def written(tmp_path: Path, user_config: Path) -> Path:
    config = tmp_path / "run" / "ssh_config"
    write_ssh_config(config, HOSTS, user_config=user_config)
    return config


def test_hosts_txt_wins_over_the_users_config(tmp_path: Path, user_config: Path) -> None:
    """User and port of hosts.txt are what ssh uses, whatever the user's config says of that host."""
    user_config.write_text("User carol\nPort 99\nHost gpu9.lan\n  User dave\n  Port 98\n")
    config = written(tmp_path, user_config)
    seen = {name: answers(config, name) for name in HOST_NAMES}
    assert {name: (it["user"], it["port"]) for name, it in seen.items()} == {
        "gpu9.lan": (["bob"], ["2222"]),
        "gpu8.lan": (["alice"], ["99"]),
        "gpu7.lan": (["carol"], ["77"]),
        "gpu6.lan": (["carol"], ["99"]),
    }


@pytest.mark.parametrize("name", HOST_NAMES)
def test_the_users_config_counts_for_every_host(tmp_path: Path, user_config: Path, name: str) -> None:
    """Address, keys, jump host and known_hosts of the user's config apply, also to hosts with settings of our own."""
    user_config.write_text(
        "Match host nobody\n  HostName 10.9.9.9\n"
        "Host gpu*.lan\n"
        "  HostName 10.0.0.7\n"
        '  IdentityFile "/keys/my key"\n'
        "  ProxyJump gate\n"
        '  UserKnownHostsFile "/known/my hosts" /known/other\n'
        "  HostKeyAlias cluster\n"
    )
    seen = answers(written(tmp_path, user_config), name)
    assert seen["hostname"] == ["10.0.0.7"]
    assert seen["identityfile"] == ["/keys/my key"]
    assert seen["proxyjump"] == ["gate"]
    assert seen["userknownhostsfile"] == ["/known/my hosts /known/other"]
    assert seen["hostkeyalias"] == ["cluster"]


def test_what_would_hang_or_break_a_run_is_ours_alone(tmp_path: Path, user_config: Path) -> None:
    """A user's BatchMode, tty, remote command and tunnels do not reach the run, not even from the top of the file."""
    user_config.write_text(
        "BatchMode no\nRequestTTY force\nRemoteCommand tmux attach\nLocalForward 8080 localhost:80\n"
        "Host gpu*\n  BatchMode no\n"
    )
    for name in HOST_NAMES:
        seen = answers(written(tmp_path, user_config), name)
        assert seen["batchmode"] == ["yes"]
        assert seen["requesttty"] == ["false"]
        assert "remotecommand" not in seen
        assert seen["clearallforwardings"] == ["yes"]


def test_our_keepalives_are_defaults(tmp_path: Path, user_config: Path) -> None:
    """Keep-alive and connect timeouts are ours only where the user has not chosen."""
    seen = answers(written(tmp_path, user_config), "gpu9.lan")
    assert (seen["serveraliveinterval"], seen["serveralivecountmax"], seen["connecttimeout"]) == (["15"], ["3"], ["20"])
    user_config.write_text("Host gpu9.lan\n  ServerAliveInterval 99\n  ConnectTimeout 5\nHost other\n")
    seen = answers(written(tmp_path, user_config), "gpu9.lan")
    assert (seen["serveraliveinterval"], seen["serveralivecountmax"], seen["connecttimeout"]) == (["99"], ["3"], ["5"])


def test_host_key_checking_is_left_alone(tmp_path: Path, user_config: Path) -> None:
    """We never say how strictly host keys are checked."""
    assert "StrictHostKeyChecking" not in written(tmp_path, user_config).read_text()
    user_config.write_text("StrictHostKeyChecking yes\n")
    assert answers(written(tmp_path, user_config), "gpu9.lan")["stricthostkeychecking"] == ["true"]


def test_a_relative_path_is_that_of_the_caller(
    tmp_path: Path, user_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user config named relative to the working directory is included from there, not from ~/.ssh."""
    user_config.write_text("User carol\n")
    monkeypatch.chdir(user_config.parent)
    config = written(tmp_path, Path(user_config.name))
    assert answers(config, "gpu6.lan")["user"] == ["carol"]


def test_the_config_is_private_and_replaced_whole(tmp_path: Path, user_config: Path) -> None:
    """The config has mode 0600 and a second writing leaves it as the first did, with nothing beside it."""
    first = written(tmp_path, user_config).read_text()
    config = written(tmp_path, user_config)
    assert config.read_text() == first
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert os.listdir(config.parent) == [config.name]


def test_a_missing_user_config_is_refused(tmp_path: Path) -> None:
    """A config that the user names must exist."""
    with pytest.raises(InputError, match="no such ssh config"):
        write_ssh_config(tmp_path / "c", HOSTS, user_config=tmp_path / "nothing")


def test_a_path_ssh_cannot_include_is_refused(tmp_path: Path) -> None:
    """A path that Include has no quoting for is refused instead of included wrongly."""
    (tmp_path / "100%").write_text("")
    with pytest.raises(InputError, match="cannot be included; rename it"):
        write_ssh_config(tmp_path / "c", HOSTS, user_config=tmp_path / "100%")


def test_backslashes_in_the_path_are_kept(tmp_path: Path) -> None:
    r"""A path with a backslash is included as that path."""
    file = tmp_path / "a\\b\\\\[c]"
    file.write_text("User carol\n")
    assert answers(written(tmp_path, file), "gpu6.lan")["user"] == ["carol"]


def test_resolve_is_what_ssh_says(tmp_path: Path, user_config: Path) -> None:
    """Address, keys with tokens, known_hosts with spaces and aliases come out as ssh would use them."""
    (tmp_path / "known hosts").write_text("")
    user_config.write_text(
        "Host gpu9.lan\n"
        "  HostName 10.0.0.7\n"
        "  IdentityFile /keys/%r@%h:%p_%n_100%%\n"
        '  IdentityFile "/keys/my key"\n'
        "  IdentitiesOnly yes\n"
        f'  UserKnownHostsFile "{tmp_path}/known hosts" /known/other\n'
        "  GlobalKnownHostsFile /dev/null\n"
        "  ConnectTimeout 7\n"
    )
    resolved = resolve(HOSTS[0], written(tmp_path, user_config))
    assert (resolved.user, resolved.hostname, resolved.port) == ("bob", "10.0.0.7", 2222)
    assert resolved.identity_files == (Path("/keys/bob@10.0.0.7:2222_gpu9.lan_100%"), Path("/keys/my key"))
    assert resolved.identities_only
    assert resolved.known_hosts_files == (tmp_path / "known hosts", Path("/known/other"), Path("/dev/null"))
    assert resolved.known_as == "[10.0.0.7]:2222"
    assert resolved.proxy_command is None
    assert resolved.connect_timeout == 7


@pytest.mark.parametrize(
    ("setting", "command"),
    [
        ("ProxyJump gate", "ssh -F {config} -W '[10.0.0.7]:2222' ssh://gate"),
        ("ProxyJump eve@gate:99", "ssh -F {config} -W '[10.0.0.7]:2222' ssh://eve@gate:99"),
        (
            "ProxyJump eve@one:99,two,ssh://three:3",
            "ssh -F {config} -J eve@one:99,two -W '[10.0.0.7]:2222' ssh://three:3",
        ),
        ("ProxyCommand nc -X 5 %h %p %r%%", "nc -X 5 10.0.0.7 2222 bob%"),
        ("ProxyCommand none", None),
    ],
)
def test_proxies_become_one_command(tmp_path: Path, user_config: Path, setting: str, command: str | None) -> None:
    """ProxyJump becomes the command ssh would run, going by the same config; ProxyCommand has its tokens filled in."""
    user_config.write_text(f"Host gpu9.lan\n  HostName 10.0.0.7\n  {setting}\n")
    config = written(tmp_path, user_config)
    expected = command and command.format(config=config)
    assert resolve(HOSTS[0], config).proxy_command == expected


def test_an_alias_is_the_name_of_the_key(tmp_path: Path, user_config: Path) -> None:
    """With HostKeyAlias, known_hosts is searched for the alias alone, without a port."""
    user_config.write_text("HostKeyAlias cluster\n")
    assert resolve(HOSTS[0], written(tmp_path, user_config)).known_as == "cluster"


def test_a_broken_config_is_reported_with_its_line(tmp_path: Path, user_config: Path) -> None:
    """What ssh has to say of the user's mistake reaches the user."""
    user_config.write_text("Host a\n  NoSuchThing 1\n")
    config = written(tmp_path, user_config)
    with pytest.raises(RemoteError, match=r"gpu9.lan: ssh refuses the config .*(?s:.*)nosuchthing"):
        resolve(Host(name="gpu9.lan", ranks=1), config)
