"""provision/prepare/survey.py: what hosts say when they are asked, and why some say nothing."""

import json
import shlex
import sys
from pathlib import Path

import msgspec
import pytest

from provision import __version__
from provision.hosts import Host
from provision.plan.plan import Plan
from provision.prepare.survey import Answer, Silence, survey_hosts
from shard.records.job import Dataset
from tests.support.plans import plan_of
from tests.support.surveys import survey_of


def local_plan(tmp_path: Path, python: str = sys.executable) -> Plan:
    directories = {"output_dir": str(tmp_path / "train"), "holdout_dir": str(tmp_path / "holdout")}
    files = Dataset(kind="files", name="x", root="/x", revision="0", text_column="text")
    return plan_of((Host(name="localhost", ranks=1),), local_python=python, dataset=files, **directories)


def program(tmp_path: Path, text: str) -> str:
    """An interpreter that does something else."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_host_without_shards(tmp_path: Path) -> None:
    """A host tells version, space, limits, and that it has nothing yet; asking makes no directory."""
    found = survey_hosts(local_plan(tmp_path), tmp_path / "no config")["localhost"]
    assert isinstance(found, Answer)
    survey = found.survey
    assert (survey.version, survey.identity, survey.committed, survey.problem) == (__version__, None, [], "")
    assert survey.output_free > 0
    assert survey.cores >= 1
    assert survey.open_files is None or survey.open_files > 3
    assert survey.hub is None
    assert list(tmp_path.iterdir()) == []


def test_clock_is_bounded(tmp_path: Path) -> None:
    """The clock of this very machine is neither ahead of itself nor behind, within what the question took."""
    found = survey_hosts(local_plan(tmp_path), tmp_path / "no config")["localhost"]
    assert isinstance(found, Answer)
    least, most = found.ahead
    assert -30 < least <= 0 <= most < 30


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("exit 127", "Python", "localhost: no {python} there; install shardfleet"),
        ("echo one >&2; echo two >&2; exit 3", "Python", "localhost: {python} -m shard survey: exit status 3: two"),
        ("echo Welcome to this host", "version", "localhost: does not answer as shardfleet"),
        ("echo '{}'", "version", "localhost: does not answer as shardfleet"),
        ("echo %s", "version", "localhost: has shardfleet 0.0.1, this is"),
        ("""echo '{"version": "0.0.1", "of": "old"}'""", "version", "localhost: has shardfleet 0.0.1, this is"),
        (f"""echo '{{"version": "{__version__}"}}'""", "version", "localhost: does not answer as shardfleet"),
    ],
    ids=["missing", "fails", "prints", "answers otherwise", "another version", "another answer", "half an answer"],
)
def test_host_that_cannot_answer(tmp_path: Path, text: str, at: str, message: str) -> None:
    """An interpreter that is missing, fails, prints, or has another version is named with the remedy."""
    other = json.dumps(msgspec.to_builtins(survey_of(version="0.0.1")))
    python = program(tmp_path, text.replace("%s", shlex.quote(other)))
    found = survey_hosts(local_plan(tmp_path, python), tmp_path / "no config")["localhost"]
    assert isinstance(found, Silence)
    assert found.at == at
    assert message.format(python=python) in found.reason


def test_host_that_cannot_be_reached(tmp_path: Path) -> None:
    """A host to which there is no connection is silent, with the reason."""
    (tmp_path / "config").write_text("Host far\n  HostName 127.0.0.1\n  Port 1\n")
    found = survey_hosts(plan_of((Host(name="far", ranks=1),)), tmp_path / "config")["far"]
    assert isinstance(found, Silence)
    assert (found.at, "Connection refused" in found.reason) == ("SSH", True)


def test_token_is_given_on_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a host is to ask the Hub, token included, is in no argument of the command."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    python = program(tmp_path, f'echo "$*" > {tmp_path}/argv; cat > {tmp_path}/stdin; exit 3')
    survey_hosts(plan_of((Host(name="localhost", ranks=1),), local_python=python), tmp_path / "no config")
    assert "hf_secret" not in (tmp_path / "argv").read_text()
    assert json.loads((tmp_path / "stdin").read_text()) == {
        "endpoint": "http://hub.test", "dataset": "owner/name", "token": "hf_secret"
    }  # fmt: skip
