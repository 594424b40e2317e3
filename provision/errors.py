"""Errors of the launcher: one root, an exit code on each class.

Exit codes: 0 all done and proven; 1 the run ended with something missing; 2 the input was refused;
3 hosts could not be shown to be quiet; 130 aborted and proven quiet.
"""


class ProvisionError(Exception):
    """Root of everything the launcher reports to its user."""

    exit_code = 1


class InputError(ProvisionError):
    """What the user gave cannot be used: an option, a file, a name."""

    exit_code = 2


class HostsFileError(InputError):
    """A line of hosts.txt cannot be used. The message lists every bad line with its number."""


class CatalogError(InputError):
    """The dataset cannot be listed or holds nothing to do."""


class PlanError(InputError):
    """The plan cannot be made, or an existing one cannot be read."""


class RemoteError(ProvisionError):
    """A host could not be reached or a command on it failed."""


class UnknownHostKeyError(RemoteError):
    """A host shows a key that nobody has confirmed yet."""


class SignInError(RemoteError):
    """A host is there and is the right one, but does not let us in with the keys we have."""


class NotReadyError(ProvisionError):
    """Hosts that cannot take part as they are: nothing has been started."""

    exit_code = 2


class TooManyDuplicatesError(ProvisionError):
    """More documents would be removed than was allowed: nothing has been written."""

    exit_code = 2


class NotProvenStoppedError(ProvisionError):
    """Hosts that could not be shown to be free of this run's processes."""

    exit_code = 3


class NothingToAppendError(ProvisionError):
    """Everything is there already: no failure."""

    exit_code = 0
