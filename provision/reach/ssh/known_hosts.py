"""Is this the host's key? ssh-keygen searches the files, so hashed names, patterns and markers count as for ssh."""

import base64
import binascii
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from provision.errors import RemoteError, UnknownHostKeyError
from provision.reach.ssh.openssh import ask_openssh
from provision.reach.ssh.resolve import Resolved


@dataclass(frozen=True, kw_only=True)
class KnownKeys:
    """What the known_hosts files say of one host. Keys are in SSH wire form."""

    trusted: tuple[bytes, ...]
    revoked: tuple[bytes, ...]
    by_authority: bool
    """Whether a certificate authority vouches for the host, which we cannot check."""

    @property
    def key_types(self) -> tuple[str, ...]:
        """Types of the trusted keys, such as `ssh-ed25519`, in the files' order."""
        return tuple(dict.fromkeys(_key_type(key) for key in self.trusted))


def known_keys(host: Resolved) -> KnownKeys:
    """The keys known for a host: those for its port, or else, as ssh does it, those for its bare name.

    Raises RemoteError when ssh-keygen is missing.
    """
    names = [host.known_as]
    if host.host_key_alias is None and host.port != 22:
        names.append(host.hostname)
    found = [_search(host, name) for name in names]
    trusted = next((keys.trusted for keys in found if keys.trusted), ())
    return KnownKeys(
        trusted=trusted,
        revoked=tuple(key for keys in found for key in keys.revoked),
        by_authority=any(keys.by_authority for keys in found),
    )


def check_key(host: Resolved, shown: bytes, known: KnownKeys) -> None:
    """Raise RemoteError, with fingerprint and remedy, unless `shown` is a trusted key of the host.

    It is an UnknownHostKeyError where no key of the host is known.
    """
    if shown in known.revoked:
        raise RemoteError(
            f"{host.name}: the server at {host.address} shows the key {describe(shown)}, which is marked @revoked; "
            f"do not connect: ask who runs that host"
        )
    if shown in known.trusted:
        return
    ask = f"ssh -F {shlex.quote(str(host.config))} -o BatchMode=no -o StrictHostKeyChecking=ask {host.name}"
    compare = f"compare it with 'ssh-keygen -lf' of the .pub file in /etc/ssh on {host.name} itself"
    if known.trusted:
        forget = f"ssh-keygen -R {shlex.quote(host.known_as)}"
        files = [file for file in host.known_hosts_files if file.exists()]
        if files:
            forget += f" -f {shlex.quote(str(files[0]))}"
        expected = ", ".join(describe(key) for key in known.trusted)
        raise RemoteError(
            f"{host.name}: the key of the server at {host.address} is not the one known: it shows {describe(shown)}, "
            f"known is {expected}. Someone may be in between. If the host was set up anew, {compare}, "
            f"then: {forget} && {ask}"
        )
    note = " (a certificate authority is known for it, but host certificates are not checked here)"
    raise UnknownHostKeyError(
        f"{host.name}: no known key for the server at {host.address}{note if known.by_authority else ''}; "
        f"it shows {describe(shown)}; {compare}, then accept it once with: {ask}"
    )


def describe(key: bytes) -> str:
    """Type and fingerprint as ssh prints them: `ssh-ed25519 SHA256:…`."""
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    return f"{_key_type(key)} SHA256:{digest}"


def _search(host: Resolved, name: str) -> KnownKeys:
    trusted: list[bytes] = []
    revoked: list[bytes] = []
    by_authority = False
    for file in host.known_hosts_files:
        if not file.exists():
            continue
        for line in _ssh_keygen(["-F", name, "-f", str(file)], host.name):
            if line.startswith("#"):
                continue
            words = line.split()
            marker = words.pop(0) if line.startswith("@") else ""
            # Fields: names, key type, key in base64, comment.
            key = _decode(words[2]) if len(words) > 2 else None
            if marker == "@cert-authority":
                by_authority = True
            elif key is not None:
                (revoked if marker == "@revoked" else trusted).append(key)
    return KnownKeys(trusted=tuple(trusted), revoked=tuple(revoked), by_authority=by_authority)


def _ssh_keygen(arguments: Sequence[str], name: str) -> list[str]:
    # Exit code 1 says "not found", 255 that the file cannot be read: neither makes a key known.
    answer = ask_openssh(["ssh-keygen", *arguments], host=name, if_slow="is its file reachable?")
    return answer.stdout.decode(errors="replace").splitlines()


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def _key_type(key: bytes) -> str:
    # RFC 4253, section 6.6: a key starts with its type, a string with its length in four bytes before it.
    length = int.from_bytes(key[:4], "big")
    return key[4 : 4 + length].decode(errors="replace")
