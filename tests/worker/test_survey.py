"""shard/host/otherruns.py, shard/source/hubcheck.py, shard/host/survey.py: what a host finds out about itself."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shard.host.otherruns import RunHere, runs_here
from shard.host.survey import survey
from shard.records.hub import HubAnswer, HubQuestion
from shard.source.hubcheck import ask_hub
from tests.support.hub import RunningHub, running_hub
from tests.support.jobs import write_corpus

RUN = f"old-run-{os.getpid()}"


@contextmanager
def bearer(*argv: str, open_file: Path | None = None) -> Iterator[None]:
    """A process of the run that lives until the block ends, perhaps with a file open."""
    environment = {**os.environ, "SHARDFLEET_JOB": RUN, "SHARDFLEET_HOST": "alpha"}
    file = os.open(open_file, os.O_RDWR | os.O_CREAT) if open_file else None
    with subprocess.Popen(
        argv or ["sh", "-c", "echo up; read line"],  # no exec, in the middle of which it has no environment
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=() if file is None else (file,),
    ) as process:
        try:
            if file is not None:
                os.close(file)
            assert process.stdout is not None
            process.stdout.readline()  # it is what it is to be, environment included
            yield
        finally:
            process.kill()


def ours(*directories: Path) -> list[RunHere]:
    return [run for run in runs_here(directories) if run.run_id == RUN]


def test_left_over_process_is_found(tmp_path: Path) -> None:
    """A process with the cookie of a run is found, with the run's id, and is no supervisor."""
    assert ours(tmp_path) == []
    with bearer():
        assert ours(tmp_path) == [RunHere(run_id=RUN, processes=1, supervised=False, writes_here=False)]
    assert ours(tmp_path) == []


def test_supervisor_is_told_apart(tmp_path: Path) -> None:
    """A run whose supervisor lives is at work."""
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho up; read line\n")
    script.chmod(0o755)
    with bearer(str(script), "-m", "shard", "run", "--job", "/x/alpha"):
        assert [run.supervised for run in ours(tmp_path)] == [True]


def test_run_that_writes_in_the_directory(tmp_path: Path) -> None:
    """A run that has a file of the directory open, as its lock, is told from one that works elsewhere."""
    output, link = tmp_path / "train", tmp_path / "link"
    output.mkdir()
    link.symlink_to(output)
    with bearer(open_file=output / ".shardfleet.lock"):
        assert [run.writes_here for run in ours(link)] == [True]
        assert [run.writes_here for run in ours(tmp_path / "tra", tmp_path / "holdout")] == [False]


def test_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """A directory in which this user may not write is named before the run; a missing one under a writable is fine."""
    assert survey(tmp_path / "a" / "b", tmp_path / "c", None, began=0.0).problem == ""
    closed = Path("/proc/sys")  # where not even root may make a file
    found = survey(closed / "x", tmp_path, None, began=0.0).problem
    assert found == "/proc/sys: cannot write there; choose another directory, or have it made yours"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    directory = tmp_path_factory.mktemp("hub")
    write_corpus(directory / "team" / "open", ["one"])
    write_corpus(directory / "team" / "closed", ["one"])
    (directory / "team" / "closed" / ".hub.json").write_text(json.dumps({"gated": True, "tokens": ["hf_good"]}))
    with running_hub(directory) as running:
        yield running


def asked(hub: RunningHub, dataset: str, token: str | None = None) -> HubAnswer:
    return ask_hub(HubQuestion(endpoint=hub.endpoint, dataset=dataset, token=token))


def test_hub_that_admits(hub: RunningHub) -> None:
    """A dataset that may be read is one, with the token where it needs one; no file is asked for."""
    assert asked(hub, "team/open") == HubAnswer(outcome="admitted")
    assert asked(hub, "team/closed", "hf_good") == HubAnswer(outcome="admitted")
    assert (hub.stats()["resolve"], hub.stats()["cdn"]) == (0, 0)


@pytest.mark.parametrize(
    ("dataset", "token", "status"),
    [("team/closed", "hf_bad", "40"), ("team/closed", None, "40"), ("team/none", None, "40")],
)
def test_hub_that_refuses(hub: RunningHub, dataset: str, token: str | None, status: str) -> None:
    """A token that may not read the dataset, none, or no such dataset: refused, with the Hub's words."""
    found = asked(hub, dataset, token)
    assert found.outcome == "refused"
    assert found.detail.startswith(f"HTTP {status}")
    assert "hf_bad" not in found.detail


def test_token_of_the_host_is_not_used(hub: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the token that ranks will have counts, not one that lies on the host."""
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    assert asked(hub, "team/closed").outcome == "refused"


@pytest.mark.parametrize("status", [429, 503])
def test_hub_that_is_busy(hub: RunningHub, status: int) -> None:
    """A status that passes is no refusal: ranks wait for it."""
    hub.arm({"kind": "status", "where": "api", "status": status, "headers": {"Retry-After": "300"}})
    assert asked(hub, "team/open") == HubAnswer(outcome="busy", detail=f"HTTP {status} as armed by a test")
    assert hub.stats()["faults_left"] == 0


def test_hub_that_cannot_be_reached() -> None:
    """Where nobody listens, that is said after a few tries."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    found = ask_hub(HubQuestion(endpoint=f"http://127.0.0.1:{port}", dataset="team/open", token=None))
    assert found.outcome == "unreachable"
    assert "Connection refused" in found.detail


def test_something_else_than_the_hub(tmp_path: Path) -> None:
    """A server that knows nothing of datasets gives none."""
    serve = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().split("port ")[1].split()[0]
            question = HubQuestion(endpoint=f"http://127.0.0.1:{port}", dataset="team/open", token=None)
            found = ask_hub(question)
        finally:
            process.kill()
    assert (found.outcome, found.detail) == ("refused", "HTTP 404")


def test_question_does_not_show_its_token() -> None:
    """A traceback that shows the question does not show the token."""
    assert "hf_x" not in repr(HubQuestion(endpoint="e", dataset="d", token="hf_x"))
