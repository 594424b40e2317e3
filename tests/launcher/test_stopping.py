"""provision/cli/stopping.py: a second Ctrl+C while hosts are being stopped."""

import pytest

from provision.cli.stopping import stopping_every_host
from provision.errors import NotProvenStoppedError


def test_a_second_ctrl_c_proves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Who does not wait until the hosts are shown to be stopped is told so, with the exit code for it."""
    with pytest.raises(NotProvenStoppedError, match="interrupted before") as raised, stopping_every_host():
        raise KeyboardInterrupt
    assert raised.value.exit_code == 3
    assert capsys.readouterr().err == "stopping every host…\n"


def test_what_else_goes_wrong_is_said() -> None:
    """Hosts that could not be shown to be stopped are named as they were."""
    with pytest.raises(NotProvenStoppedError, match="beta"), stopping_every_host():
        raise NotProvenStoppedError("not shown to be stopped: beta")
