"""How OpenSSH would reach a host: asked of ssh itself, so that Include, Match and the rest are its business."""

import getpass
import os
import pwd
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from provision.errors import RemoteError
from provision.hosts import Host
from provision.reach.ssh.openssh import ask_openssh

Settings = dict[str, list[str]]
"""Lower-case keyword → the values `ssh -G` prints for it, in order."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """How OpenSSH would reach a host: the answers of `ssh -G`."""

    config: Path
    """The config that was asked."""
    name: str
    """What was asked for."""
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    """Private keys to try, in order; not all need exist."""
    identities_only: bool
    """Whether keys of the agent count only when they are among the identity files."""
    use_agent: bool
    known_hosts_files: tuple[Path, ...]
    """The user's and the system's, in order; not all need exist."""
    hash_known_hosts: bool
    """Whether names are hashed when a key is added to a known_hosts file."""
    host_key_alias: str | None
    proxy_command: str | None
    """The shell command whose stdin and stdout stand for the connection; ProxyJump is one, too."""
    connect_timeout: float
    """Seconds."""

    @property
    def address(self) -> str:
        return f"{self.hostname} port {self.port}"

    @property
    def known_as(self) -> str:
        """The name its key has in known_hosts files."""
        if self.host_key_alias is not None:
            return self.host_key_alias
        return self.hostname if self.port == 22 else f"[{self.hostname}]:{self.port}"


def resolve(host: Host, config: Path) -> Resolved:
    """Ask ssh itself what a config says of a host: Include, Match and tokens are its business.

    Raises RemoteError when ssh is missing or refuses the config.
    """
    argv = ["ssh", "-G", "-F", str(config), host.name]
    answer = ask_openssh(argv, host=host.name, if_slow="does a 'Match exec' in it hang?")
    if answer.returncode != 0:
        reason = answer.stderr.decode(errors="replace").strip()
        raise RemoteError(f"{host.name}: ssh refuses the config {config}: {reason}; mend the file it names")
    settings: Settings = {}
    for line in os.fsdecode(answer.stdout).splitlines():
        key, _, value = line.partition(" ")
        settings.setdefault(key, []).append(value)
    return _resolved(host.name, config, settings)


def _resolved(name: str, config: Path, settings: Settings) -> Resolved:
    hostname, port, user = settings["hostname"][0], int(settings["port"][0]), settings["user"][0]
    # The tokens of ssh_config(5) that -G leaves for later.
    tokens = {"%%": "%", "%h": hostname, "%p": str(port), "%r": user, "%n": name, "%u": getpass.getuser()}
    tokens |= {"%d": str(_ssh_home()), "%i": str(os.getuid())}
    proxy, jump = _one(settings, "proxycommand"), _one(settings, "proxyjump")
    if jump is not None:
        proxy = _jump_command(jump, config, hostname, port)
    elif proxy is not None:
        proxy = _expand(proxy, tokens)
    known = settings.get("userknownhostsfile", []) + settings.get("globalknownhostsfile", [])
    return Resolved(
        config=config,
        name=name,
        hostname=hostname,
        port=port,
        user=user,
        identity_files=tuple(_file(text, tokens) for text in settings.get("identityfile", []) if text != "none"),
        identities_only=_one(settings, "identitiesonly") == "yes",
        use_agent=settings.get("identityagent") != ["none"],
        known_hosts_files=tuple(file for line in known for file in _files(line, tokens)),
        hash_known_hosts=_one(settings, "hashknownhosts") == "yes",
        host_key_alias=_one(settings, "hostkeyalias"),
        proxy_command=proxy,
        connect_timeout=float(_one(settings, "connecttimeout") or 20),
    )


def _one(settings: Settings, key: str) -> str | None:
    value = settings.get(key, ["none"])[0]
    return None if value == "none" else value


def _expand(text: str, tokens: dict[str, str]) -> str:
    text = re.sub("%.", lambda match: tokens.get(match[0], match[0]), text)
    return re.sub(r"\$\{(\w+)\}", lambda match: os.environ.get(match[1], match[0]), text)


def _file(text: str, tokens: dict[str, str]) -> Path:
    text = _expand(text, tokens)
    return _ssh_home() / text[2:] if text.startswith("~/") else Path(text).expanduser()


def _ssh_home() -> Path:
    """The home directory ssh goes by: the password database's, whatever $HOME says."""
    return Path(pwd.getpwuid(os.getuid()).pw_dir)


def _files(line: str, tokens: dict[str, str]) -> list[Path]:
    """The files of a list that ssh -G prints without quotes: of words that could be one name, the longest there is."""
    words = line.split(" ")
    files = []
    while words:
        for length in range(len(words), 0, -1):
            file = _file(" ".join(words[:length]), tokens)
            if file.exists() or length == 1:
                files.append(file)
                words = words[length:]
                break
    return files


def _jump_command(jumps: str, config: Path, hostname: str, port: int) -> str:
    """What ssh itself runs for ProxyJump: the last jump host connects on, reached over those before it."""
    *earlier, last = jumps.split(",")
    over = ["-J", ",".join(earlier)] if earlier else []
    # As a URI, because `ssh` takes a port from nothing else that is one word.
    uri = last if last.startswith("ssh://") else f"ssh://{last}"
    return shlex.join(["ssh", "-F", str(config), *over, "-W", f"[{hostname}]:{port}", uri])
