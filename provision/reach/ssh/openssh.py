"""OpenSSH's own tools, asked questions."""

import shlex
import subprocess
from collections.abc import Sequence

from provision.errors import RemoteError

_SECONDS = 60


def ask_openssh(argv: Sequence[str], *, host: str, if_slow: str) -> "subprocess.CompletedProcess[bytes]":
    """Run `ssh -G` or `ssh-keygen` for a host; its exit code is the caller's to judge.

    Raises RemoteError when the tool is missing, or takes over a minute; `if_slow` is the hint then.
    """
    try:
        # A session of its own: Ctrl+C at the terminal must not end what the abort is made of.
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise RemoteError(f"{host}: no {argv[0]!r} on this machine; install the OpenSSH client") from None
    except subprocess.TimeoutExpired:
        raise RemoteError(f"{host}: {shlex.join(argv)!r} took over {_SECONDS} s; {if_slow}") from None
