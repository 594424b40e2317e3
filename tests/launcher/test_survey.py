"""provision/survey.py: what hosts have, and whether they can take part."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from provision import __version__
from provision.errors import NotReadyError, RemoteError
from provision.hosts import Host
from provision.plan import Plan
from provision.survey import committed_of, problems, require_ready, survey_hosts
from shard.host.survey import Survey
from shard.job import Holdout
from tests.support.plans import plan_of

HOSTS = (Host(name="alpha", ranks=1), Host(name="beta", ranks=1))


def answer(**fields: Any) -> Survey:
    given = {"version": __version__, "python": "3.11", "output_free": 1, "holdout_free": 1, "same_disk": True}
    return Survey(**{**given, "identity": None, "place": "", "committed": [], **fields})


def local_plan(tmp_path: Path, python: str = sys.executable) -> Plan:
    directories = {"output_dir": str(tmp_path / "train"), "holdout_dir": str(tmp_path / "holdout")}
    return plan_of((Host(name="localhost", ranks=1),), local_python=python, **directories)


def test_host_without_shards(tmp_path: Path) -> None:
    """A host tells version, space, and that it has nothing yet; asking makes no directory."""
    found = survey_hosts(local_plan(tmp_path), tmp_path / "no config")["localhost"]
    assert isinstance(found, Survey)
    assert (found.version, found.identity, found.committed, found.problem) == (__version__, None, [], "")
    assert found.output_free > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("exit 127", "localhost: no {python} there; install shardfleet on it"),
        ("echo one >&2; echo two >&2; exit 3", "localhost: {python} -m shard survey: exit status 3: two"),
        ("echo Welcome to this host", "localhost: does not answer as shardfleet"),
        ("echo '{}'", "localhost: does not answer as shardfleet"),
        ("echo %s", "localhost: has shardfleet 0.0.1, this is"),
    ],
    ids=["missing", "fails", "prints", "answers otherwise", "another version"],
)
def test_host_that_cannot_answer(tmp_path: Path, program: str, message: str) -> None:
    """An interpreter that is missing, fails, prints, or has another version is named with the remedy."""
    other = json.dumps(
        {"version": "0.0.1", "python": "3", "output_free": 1, "holdout_free": 1, "same_disk": True, "identity": None,
         "place": "", "committed": []}
    )  # fmt: skip
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n" + program.replace("%s", shlex.quote(other)) + "\n")
    python.chmod(0o755)
    plan = local_plan(tmp_path, str(python))
    found = survey_hosts(plan, tmp_path / "no config")["localhost"]
    assert isinstance(found, RemoteError)
    assert message.format(python=python) in str(found)


def test_committed_units_count_for_this_fingerprint_alone() -> None:
    """What a host has finished is kept if its shards are of this very plan, and lies within it."""
    plan = plan_of(HOSTS)
    other = replace(plan.identity, holdout_seed=7)
    surveys = {
        "alpha": answer(identity=plan.identity, committed=[(0, 2), (5, 9)]),
        "beta": answer(identity=other, committed=[(2, 4)]),
    }
    assert committed_of(plan, surveys) == {"alpha": [0, 1, 5]}


def test_another_fingerprint_is_named_field_by_field() -> None:
    """Shards of other options are a problem that names what differs, unless they are to be replaced."""
    plan = plan_of(HOSTS)
    other = plan_of(HOSTS, holdout=Holdout(rate=0.5, seed=3)).identity
    surveys = {"alpha": answer(identity=other), "beta": answer(identity=plan.identity)}
    (line,) = problems(plan, surveys)
    assert line == (
        "alpha: ~/dataset_shard holds shards of another run. Differing: holdout_rate: 0.001, not 0.5; "
        "holdout_seed: 0, not 3. Choose another --output-dir, or replace those shards with --overwrite"
    )
    assert problems(replace(plan, overwrite=True), surveys) == []


def test_every_host_that_is_not_ready_is_named_at_once() -> None:
    """Hosts that do not answer and hosts with a problem are named together, and the exit code says refused."""
    plan = plan_of(HOSTS)
    surveys = {"alpha": RemoteError("alpha: no route"), "beta": answer(problem="/x/dataset.json: not ours")}
    with pytest.raises(NotReadyError) as caught:
        require_ready(plan, surveys)
    assert str(caught.value) == "not started:\n  alpha: no route\n  beta: /x/dataset.json: not ours"
    assert caught.value.exit_code == 2
    require_ready(plan, {"alpha": answer(), "beta": answer()})


def test_units_finished_in_two_places_are_refused() -> None:
    """Units that two hosts have finished apart from each other are named; on a shared file system they are one."""
    plan = plan_of(HOSTS)
    apart = {
        "alpha": answer(identity=plan.identity, place="1", committed=[(0, 3)]),
        "beta": answer(identity=plan.identity, place="2", committed=[(2, 5)]),
    }
    (found,) = problems(plan, apart)
    assert "alpha and beta: both have finished 1 units, the first is 000002" in found
    shared = {name: msgspec.structs.replace(survey, place="1") for name, survey in apart.items()}
    assert problems(plan, shared) == []
