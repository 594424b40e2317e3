"""provision/plan/rundir.py: the run directory on the launcher."""

from pathlib import Path

import pytest

from provision.errors import InputError, PlanError
from provision.plan.rundir import RunDirectory, find_run
from tests.support.plans import plan_of


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "runs" / "a-run")
    directory.make()
    return directory


def test_a_plan_comes_back_as_it_was(run: RunDirectory) -> None:
    """A plan read is the plan written, down to every unit."""
    plan = plan_of()
    run.write_plan(plan)
    assert run.read_plan() == plan


def test_the_directory_is_the_users_own(run: RunDirectory) -> None:
    """Nobody else can look into a run directory or its plan."""
    run.write_plan(plan_of())
    assert (run.path.stat().st_mode & 0o777, run.plan_file.stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 1}', b'{"version": 1, "surprise": 2}', b"\xff"])
def test_a_damaged_plan_is_named(run: RunDirectory, content: bytes) -> None:
    """What is no plan is an error that names the file."""
    run.plan_file.write_bytes(content)
    with pytest.raises(PlanError, match=r"plan\.json"):
        run.read_plan()


def test_a_plan_of_another_version_is_refused(run: RunDirectory) -> None:
    """A plan written by a version with another format is not guessed at."""
    run.write_plan(plan_of())
    run.plan_file.write_bytes(run.plan_file.read_bytes().replace(b'"version":1', b'"version":99'))
    with pytest.raises(PlanError, match="version"):
        run.read_plan()


def test_a_run_is_found_by_path_and_by_id(run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is named by its directory, or by its id where `runs/` is."""
    run.write_plan(plan_of())
    monkeypatch.chdir(tmp_path)
    assert find_run(str(run.path)).path == run.path
    assert find_run("a-run").path == run.path


def test_no_run_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is no run is an error that says where was looked."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"plan\.json.*runs/nothing"):
        find_run("nothing")


def test_hosts_that_could_not_be_stopped(run: RunDirectory) -> None:
    """Who stops the hosts leaves word of those that gave no answer; nobody, or somebody else, leaves none."""
    assert run.silent_when_stopped() == {}
    run.stopped.touch()
    assert run.silent_when_stopped() == {}
    run.stopped.write_text('{"gpu3": "cannot connect"}')
    assert run.silent_when_stopped() == {"gpu3": "cannot connect"}


def test_the_lock_is_held_by_one(run: RunDirectory) -> None:
    """While one holds the run's lock, another is told that the run is under way."""
    with run.not_running(), pytest.raises(InputError, match="already under way"), run.not_running():
        pytest.fail("both hold the lock")
    with run.not_running():
        pass


def test_another_runs_directory_is_refused(run: RunDirectory) -> None:
    """A directory that holds the plan of another run is not taken over; its own run may come back."""
    run.require_same_run(plan_of())
    run.write_plan(plan_of())
    run.require_same_run(plan_of())
    with pytest.raises(InputError, match="--run-dir"):
        run.require_same_run(plan_of(name="owner/another", output_dir="~/elsewhere"))


def test_a_directory_of_the_users_keeps_its_mode(tmp_path: Path) -> None:
    """A directory that was there before is used as it is."""
    tmp_path.chmod(0o755)
    RunDirectory(tmp_path).make()
    assert tmp_path.stat().st_mode & 0o777 == 0o755
