"""Signing in with a password, for the one time before a host accepts a key."""

from collections.abc import Callable

import paramiko

from provision.errors import SignInError
from provision.reach.ssh.connect import reason_of
from provision.reach.ssh.resolve import Resolved

AskPassword = Callable[[Resolved], str]
"""Has the user type the password of an account on a host; it is used at once and kept nowhere."""

_TRIES = 3


def sign_in_with_password(transport: paramiko.Transport, host: Resolved, ask: AskPassword) -> None:
    """Sign in over a connection whose host key has been checked; a wrong password may be typed again, as with ssh.

    Raises SignInError, with the remedy, when the server takes no password or three were wrong.
    """
    where = f"{host.user}@{host.hostname} port {host.port}"
    for _ in range(_TRIES):
        password = ask(host)
        try:
            # A server that takes passwords as answers to a question (keyboard-interactive) is given it so.
            missing = transport.auth_password(host.user, password)
        except paramiko.BadAuthenticationType as error:
            accepted = ", ".join(error.allowed_types)
            raise SignInError(
                f"{host.name}: {where} takes no password, only {accepted}; have its administrator add your public key "
                "to ~/.ssh/authorized_keys there"
            ) from error
        except paramiko.SSHException as error:
            if not transport.is_active():
                raise SignInError(f"{host.name}: {where} hung up: {reason_of(error)}; try again") from error
            continue
        if missing:
            raise SignInError(
                f"{host.name}: {where} wants {', '.join(missing)} besides a password; add the key by hand"
            )
        return
    raise SignInError(f"{host.name}: {where} refused {_TRIES} passwords; is {host.user!r} the right user?")
