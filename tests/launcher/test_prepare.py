"""provision/prepare.py: from what the user asks for to a run directory with its script."""

import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from provision.catalog.types import DatasetSpec
from provision.errors import InputError
from provision.prepare import Prepared, Request, prepare, write_run
from provision.survey import problems
from shard.job import Options
from tests.support.jobs import write_corpus
from tests.support.plans import tree_of


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with hosts.txt and a dataset of three files, and a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work" / "hosts.txt").write_text("localhost 2\n")
    write_corpus(tmp_path / "data", ["one", "two", "three"], files=3)
    return tmp_path


def request(place: Path, **fields: Any) -> Request:
    given: dict[str, Any] = {
        "hosts_file": Path("hosts.txt"),
        "default_slots": None,
        "dataset": DatasetSpec(name=str(place / "data")),
        "tokenizer": "bytes",
        "eod": None,
        "output_dir": "~/train",
        "holdout_dir": "~/holdout",
        "holdout_rate": 0.001,
        "holdout_seed": 0,
        "unit_bytes": 1 << 20,
        "options": Options(),
        "ssh_config": None,
        "remote_python": "~/python",
        "run_dir": None,
        "overwrite": False,
    }
    return Request(**{**given, **fields})


def prepared(place: Path, **fields: Any) -> Prepared:
    return prepare(request(place, **fields), lambda text: None)


def test_run_is_written(place: Path) -> None:
    """Plan and script are in the run directory, its own; a copy of the script lies where we are, and can be run."""
    made = prepared(place)
    copy = write_run(made)
    run = place / "work" / "runs" / made.plan.run_id
    assert copy == place / "work" / "run_all_hosts.sh"
    assert copy.read_bytes() == (run / "run_all_hosts.sh").read_bytes()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o755
    assert stat.S_IMODE((run / "plan.json").stat().st_mode) == 0o600
    assert made.run.read_plan() == made.plan
    assert set(tree_of(run)) == {"plan.json", "run_all_hosts.sh", "ssh_config", "lock"}


def test_tokenizer_travels_with_the_plan(place: Path, small_tokenizer: Path) -> None:
    """The tokenizer's file is in the run directory, byte for byte."""
    made = prepared(place, tokenizer=str(small_tokenizer))
    write_run(made)
    assert (made.run.tokenizer / "tokenizer.json").read_bytes() == small_tokenizer.read_bytes()


def test_plan_is_the_request(place: Path) -> None:
    """Every wish that decides bytes or places is in the plan."""
    made = prepared(place, holdout_rate=0.25, holdout_seed=9, eod="none", overwrite=True, unit_bytes=300)
    plan = made.plan
    assert (plan.holdout.rate, plan.holdout.seed, plan.tokenizer.eod_id) == (0.25, 9, None)
    assert (plan.overwrite, plan.unit_bytes, plan.local_python, plan.remote_python) == (
        *(True, 300, sys.executable, "~/python"),
    )
    assert len(plan.units) > 3
    assert [host.units for host in plan.hosts] == [tuple(range(len(plan.units)))]
    assert problems(plan, made.surveys) == []


def test_run_directory_may_be_chosen(place: Path) -> None:
    """--run-dir is taken as it is, and the script may be written there from there."""
    made = prepared(place, run_dir=Path("a run"))
    write_run(made)
    assert (place / "work" / "a run" / "plan.json").is_file()


def test_script_in_its_own_run_directory(place: Path) -> None:
    """Where we are in the run directory itself, the script is not copied over itself."""
    made = prepared(place, run_dir=Path())
    assert write_run(made) == place / "work" / "run_all_hosts.sh"
    assert (place / "work" / "run_all_hosts.sh").is_file()


def test_run_under_way_is_left_alone(place: Path) -> None:
    """While the script runs neither plan nor script are replaced."""
    made = prepared(place)
    write_run(made)
    other = prepared(place, options=Options(attempts=9))
    before = tree_of(made.run.path)
    with made.run.not_running(), pytest.raises(InputError, match="already under way"):
        write_run(other)
    assert tree_of(made.run.path) == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hosts_file": Path("nowhere.txt")}, "nowhere.txt"),
        ({"output_dir": "train"}, "--output-dir='train': not a whole path"),
        ({"holdout_dir": "~bob/x"}, "--holdout-dir='~bob/x': not a whole path"),
        ({"output_dir": "/a\nb"}, "control character"),
        ({"holdout_dir": "~/train"}, "would both go to '~/train'"),
        ({"tokenizer": "nothing"}, "'nothing'"),
        ({"eod": "300"}, "end-of-document id 300 is outside the vocabulary of 'bytes'"),
        ({"dataset": DatasetSpec(name="/nowhere")}, "/nowhere"),
        ({"ssh_config": Path("/nowhere/config")}, "/nowhere/config"),
        ({"run_dir": Path("hosts.txt/run")}, "hosts.txt/run"),
        ({"unit_bytes": 0}, "--unit-size 0"),
        ({"holdout_rate": 1.0}, "holdout rate 1.0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refusals(place: Path, fields: dict[str, Any], message: str) -> None:
    """What cannot be used is an InputError that names it."""
    with pytest.raises(InputError) as caught:
        prepared(place, **fields)
    assert message in str(caught.value)


def test_interpreter_that_env_cannot_start(place: Path) -> None:
    """An interpreter path with '=' is refused before anything of the run is written."""
    (place / "work" / "hosts.txt").write_text("nowhere.invalid 1\n")
    made = prepared(place, remote_python="/opt/a=b/python")
    with pytest.raises(InputError, match="a=b"):
        write_run(made)
    assert not made.run.plan_file.exists()
