"""provision/cli/stopping.py: Ctrl+C, and Ctrl+C once more, while hosts are being stopped."""

import os
import signal

import pytest

from provision.cli.stopping import stopped_by_ctrl_c
from provision.errors import NotProvenStoppedError


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_twice_is_as_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The second Ctrl+C of an impatient user does not cut short what stops the hosts, however early it comes."""
    stopped = []

    def stop() -> None:
        interrupt()
        stopped.append("all")

    with pytest.raises(KeyboardInterrupt), stopped_by_ctrl_c(stop):
        interrupt()
    assert stopped == ["all"]
    assert capsys.readouterr().err == "stopping every host…\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_third_proves_nothing() -> None:
    """Who does not wait until the hosts are shown to be stopped is told so, with the exit code for it."""

    def stop() -> None:
        interrupt()
        interrupt()
        pytest.fail("still there")

    with pytest.raises(NotProvenStoppedError, match="interrupted before") as raised, stopped_by_ctrl_c(stop):
        interrupt()
    assert raised.value.exit_code == 3


def test_what_else_goes_wrong_is_said() -> None:
    """Hosts that could not be shown to be stopped are named as they were."""

    def stop() -> None:
        raise NotProvenStoppedError("not shown to be stopped: beta")

    with pytest.raises(NotProvenStoppedError, match="beta"), stopped_by_ctrl_c(stop):
        interrupt()


def test_nobody_is_stopped_without_it() -> None:
    """Neither by the end of the block nor by an error in it."""
    with pytest.raises(ValueError, match="ours"), stopped_by_ctrl_c(pytest.fail):
        raise ValueError("ours")
