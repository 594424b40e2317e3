"""Shell words for a host: a command stays a list of arguments until here, and is quoted once."""

import shlex
from collections.abc import Sequence


def remote_path_word(path: str) -> str:
    """The shell word for a path on a host: `~/x y` becomes `~/'x y'`, anything else is quoted whole.

    Only `~` alone and a leading `~/` mean the home directory. `~bob` is quoted, as a file of that name.

    Raises ValueError when the path holds a NUL, which no shell can pass on.
    """
    _refuse_nul(path)
    if path in {"~", "~/"}:
        return path
    if path.startswith("~/"):
        return "~/" + shlex.quote(path[2:])
    return shlex.quote(path)


def remote_command(argv: Sequence[str]) -> str:
    """One line for the shell of a host, each argument a word of its own; a leading `~/` is the home directory.

    Raises ValueError when there is no argument, or one holds a NUL.
    """
    if not argv:
        raise ValueError("a command needs at least one argument")
    return " ".join(remote_path_word(argument) for argument in argv)


def _refuse_nul(text: str) -> None:
    if "\0" in text:
        raise ValueError(f"{text!r}: a NUL character cannot be passed to a command")
