"""The user's public key onto a host that does not accept it yet."""

import base64
import binascii
from dataclasses import dataclass, replace
from pathlib import Path

from provision.errors import InputError, RemoteError, SignInError
from provision.hosts import Host
from provision.reach.channel import Channel
from provision.reach.ssh.channel import SshChannel
from provision.reach.ssh.connect import SignIn, sign_in_with_keys
from provision.reach.ssh.resolve import resolve

_SECONDS = 60.0

# Standard input: the key's type and base64, a line; then its whole line. sshd ignores files that others may write.
_AUTHORIZE = """
set -eu
umask 077
IFS= read -r key
IFS= read -r line
file=$HOME/.ssh/authorized_keys
mkdir -p "$HOME/.ssh"
chmod 0700 "$HOME/.ssh"
touch "$file"
chmod 0600 "$file"
if grep -v '^[[:space:]]*#' "$file" | grep -qF -e "$key"; then exit 0; fi
if [ -n "$(tail -c 1 "$file")" ]; then echo >>"$file"; fi
printf '%s\\n' "$line" >>"$file"
if command -v restorecon >/dev/null; then restorecon -R "$HOME/.ssh"; fi
"""


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """A line for authorized_keys, and where it is from. Raises InputError when it is none."""

    file: Path
    line: str

    def __post_init__(self) -> None:
        words = self.line.split()
        if "PRIVATE KEY" in self.line:
            raise InputError(f"{self.file}: is a private key, which never leaves this machine; give its .pub file")
        if len(self.line.splitlines()) != 1 or len(words) < 2 or not _is_key(words[0], words[1]):
            raise InputError(f"{self.file}: is no public key; give a file such as ~/.ssh/id_ed25519.pub, of one line")

    @property
    def material(self) -> str:
        """Type and base64, without the comment."""
        return " ".join(self.line.split()[:2])


def read_public_key(file: Path) -> PublicKey:
    """Raises InputError when a file cannot be read or holds no public key."""
    try:
        return PublicKey(file=file, line=file.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read: {error}; give the .pub file of a key") from error


def key_for(host: Host, config: Path) -> PublicKey:
    """The public half of the first key that ssh would offer a host. Raises InputError when there is none."""
    files = [Path(f"{file}.pub") for file in resolve(host, config).identity_files]
    for file in files:
        if file.is_file():
            return read_public_key(file)
    raise InputError(
        f"{host.name}: there is no key to install: none of {', '.join(map(str, files)) or 'your config names'} exists; "
        "make one with 'ssh-keygen -t ed25519', or name one with --install-key FILE.pub"
    )


def accepts(host: Host, config: Path, key: PublicKey) -> bool:
    """Whether a host lets us in with this key.

    Raises RemoteError when the host cannot be reached or its own key is not known.
    """
    try:
        SshChannel(host, config, sign_in=_with_key(key)).close()
    except SignInError:
        return False
    return True


def install_key(host: Host, config: Path, key: PublicKey, sign_in: SignIn) -> None:
    """Sign in some other way, add the key to ~/.ssh/authorized_keys unless it is there, and show that it lets us in.

    Raises SignInError when that other way fails, or the host does not accept the key even so.
    """
    with SshChannel(host, config, sign_in=sign_in) as channel:
        _authorize(channel, key)
    try:
        SshChannel(host, config, sign_in=_with_key(key)).close()
    except SignInError as error:
        raise SignInError(
            f"{error}. The key is in ~/.ssh/authorized_keys there; does sshd look elsewhere (AuthorizedKeysFile), is "
            "the home directory writable by others, or is the private half not here?"
        ) from error


def _authorize(channel: Channel, key: PublicKey) -> None:
    lines = f"{key.material}\n{key.line}\n".encode()
    done = channel.run(["/bin/sh", "-c", _AUTHORIZE], timeout=_SECONDS, stdin=lines)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise RemoteError(
            f"{channel.host.name}: cannot write ~/.ssh/authorized_keys there: {said}; may you, and is there room?"
        )


def _with_key(key: PublicKey) -> SignIn:
    only = (key.file.with_suffix("") if key.file.suffix == ".pub" else key.file,)
    return lambda transport, host: sign_in_with_keys(
        transport, replace(host, identity_files=only, identities_only=True)
    )


def _is_key(kind: str, text: str) -> bool:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    # RFC 4253, section 6.6: a key starts with its type, a string with its length in four bytes before it.
    return data.startswith(len(kind).to_bytes(4, "big") + kind.encode())
